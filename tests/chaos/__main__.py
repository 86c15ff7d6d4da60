"""Proves that a sweep loses nothing: random faults against the real command line.

python -m tests.chaos --faults 100 --seed 0    a cluster under all kinds of faults
python -m tests.chaos drivers --kills 20       rules that decide, under a driver that dies
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cyclopts import App
from rich.console import Console

from tests.chaos.drivers import DriverOptions, run_drivers
from tests.chaos.harness import run_chaos
from tests.chaos.options import ChaosOptions
from tests.chaos.report import Report
from tests.chaos.store import StoreKind
from tune_app.command_line import run_command

app = App(name="python -m tests.chaos", help=__doc__, help_format="plaintext", version_flags=[])


@app.default
def chaos(
    *,
    faults: int = 100,
    seed: int = 0,
    nodes: int = 2,
    interval: float = 2.0,
    store: StoreKind = "path",
    tokens: int = 600_000,
    seeds: int | None = None,
    short: bool = False,
    folder: Path | None = None,
) -> int:
    """Strike random faults against a sweep, and compare it with an undisturbed one.

    Parameters
    ----------
    faults
        Number of faults.
    seed
        Of their schedule.
    nodes
        Worker nodes, of one CPU each.
    interval
        Seconds from checkpoint to checkpoint.
    store
        Of the checkpoints: a folder, or one behind an sshd of the run's own.
    tokens
        A cell.
    seeds
        Cells are five times as many; default as many as the faults need.
    short
        Pauses of 3 to 8 s, not of 10 to 60 s.
    folder
        Keeps journals, logs and figures there; default a temporary one, kept after a failure.
    """
    options = ChaosOptions(
        faults=faults,
        seed=seed,
        nodes=nodes,
        interval=interval,
        store=store,
        tokens=tokens,
        seeds=seeds,
        short=short,
    )
    return _run(lambda where: run_chaos(where, options), folder)


@app.command
def drivers(*, kills: int = 20, seed: int = 0, folder: Path | None = None) -> int:
    """Kill the driver of a sweep with ASHA and the kill rule, again and again.

    Parameters
    ----------
    kills
        Number of kills.
    seed
        Of their moments.
    folder
        Keeps journals, logs and figures there; default a temporary one, kept after a failure.
    """
    options = DriverOptions(kills=kills, seed=seed)
    return _run(lambda where: run_drivers(where, options), folder)


def _run(run: Callable[[Path], Report], folder: Path | None) -> int:
    logging.getLogger("tests.chaos").setLevel(logging.INFO)
    where = folder or Path(tempfile.mkdtemp(prefix="chaos-run-"))
    report = run(where / "work")
    (where / "report.json").write_text(json.dumps(report.as_values(), indent=1) + "\n", "utf-8")
    console = Console(soft_wrap=True)
    console.print(report.as_text(), markup=False, highlight=False)
    if folder is None and report.passed:
        shutil.rmtree(where)
    else:
        console.print(f"\neverything is in {where}", markup=False, highlight=False)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(run_command(app, "tests.chaos"))
