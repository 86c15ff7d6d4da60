"""Peak memory of a preset on a CPU: two steps, a checkpoint saved during the second, then loaded.

Blocks compute their activations again, the context is short and the loss goes through the
vocabulary in chunks. Saving is what a sweep does: a copy in memory, which a thread streams to a
store while the training goes on. Loading is a process of its own. Peaks are what the system counted
(VmHWM); of several processes each one's own is added up, so they need no more than that together.
Above the limit the exit code is 1.

python -m benchmarks.large_model
python -m benchmarks.large_model --processes 2
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from cyclopts import App
from rich.console import Console
from rich.table import Table

from data.batches import RandomBatches
from model.presets import preset
from model.sizing.counts import count_parameters
from model.training.opening import open_training
from model.training.settings import TrainingConfig
from model.training.shards.sharded import ShardedTraining
from model.training.training import Training
from tune_app.devices import peak_memory
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoint_upload import Uploads
from tune_app.trial.checkpoints import Checkpoints

GIB = 2**30
CELL = "large"

app = App(name="python -m benchmarks.large_model", help=__doc__, version_flags=[])


class Phases:
    """What each phase took, and the peak of memory until its end; a line of JSON for each."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures a block."""
        started = time.perf_counter()
        yield
        others = (process.pid for process in multiprocessing.active_children())
        peak = sum(_peak_of(pid) for pid in (os.getpid(), *others) if pid is not None)
        print(
            json.dumps({"phase": name, "seconds": time.perf_counter() - started, "peak": peak}),
            flush=True,
        )


@app.default
def measure(
    name: str = "polychromatic-600m",
    *,
    context: int = 128,
    processes: int = 1,
    apart: bool = False,
    limit: float = 20.0,
    folder: Path | None = None,
) -> int:
    """Measure, and print a table.

    Parameters
    ----------
    name
        Preset.
    context
        Tokens of a sequence; a step has one for each process.
    processes
        That share the model.
    apart
        Save between the two steps, as a trial does that is told to end, not during the second.
    limit
        GiB that no phase may exceed, all processes together.
    folder
        Where to put the checkpoint, several GB, in a folder that is removed; default: TMPDIR.
    """
    parameters = count_parameters(preset(name).config).total
    shown = Table(
        title=f"{name}: {parameters:,} parameters, fp32 on a CPU; {processes} × {context} tokens"
    )
    for column in ("phase", "seconds", "peak until then"):
        shown.add_column(column, justify="left" if column == "phase" else "right")
    peak = 0.0
    with tempfile.TemporaryDirectory(dir=folder) as store:
        for part in (["train", "--apart" if apart else "--no-apart"], ["load"]):
            command = [sys.executable, "-m", "benchmarks.large_model", *part, name]
            run = subprocess.run(
                [
                    *command,
                    f"--context={context}",
                    f"--processes={processes}",
                    f"--store={store}",
                ],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            for line in map(json.loads, run.stdout.splitlines()):
                peak = max(peak, line["peak"] / GIB)
                shown.add_row(
                    line["phase"], f"{line['seconds']:.0f}", f"{line['peak'] / GIB:.1f} GiB"
                )
    console = Console()
    console.print(shown)
    console.print(f"greatest peak {peak:.1f} GiB, limit {limit:g} GiB")
    return int(peak >= limit)


@app.command(show=False)
def train(name: str, *, context: int, processes: int, store: Path, apart: bool) -> None:
    """Two steps; the checkpoint of the first is saved during the second, or `apart` before it."""
    phases = Phases()
    uploads = Uploads(Checkpoints(PathStore(store), cell=CELL))
    with phases.phase("build"):
        training = _training(name, context, processes)
    with phases.phase("step 1"):
        training.step()
    with phases.phase("save it" if apart else "copy the state"):
        uploads.begin(training.state_dict, tokens=training.tokens)
        assert not apart or uploads.wait(math.inf)
    with phases.phase("step 2" if apart else "step 2, while it is saved"):
        result = training.step()
        assert math.isfinite(result.loss)
    with phases.phase("the rest of saving"):
        uploads.close()
        assert uploads.stored is not None, "it was stored"
    training.close()


@app.command(show=False)
def load(name: str, *, context: int, processes: int, store: Path) -> None:
    """The checkpoint in a new process, and the second step from it."""
    phases = Phases()
    with phases.phase("build, in a new process"):
        training = _training(name, context, processes)
    with phases.phase("load"):
        restored = Checkpoints(PathStore(store), cell=CELL).newest()
        assert restored.state is not None
        training.load_state_dict(restored.state)
        del restored
    with phases.phase("step 2 again"):
        training.step()
    training.close()


def _peak_of(pid: int) -> float:
    """The most memory that a process has had, in bytes."""
    peak = peak_memory("cpu", status=Path(f"/proc/{pid}/status"))
    assert peak is not None, "Linux says it of every process"
    return peak


def _training(name: str, context: int, processes: int) -> Training | ShardedTraining:
    torch.set_num_threads(1)
    config = replace(preset(name).config, context=context)
    settings = TrainingConfig(
        tokens=100 * processes * context,
        batch_size=processes,
        precision="fp32",
        compile="off",
        gradient_checkpointing=True,
    )
    batches = RandomBatches(vocab_size=config.vocab_size, context=context, batch_size=processes)
    return open_training(config, settings, batches, baseline=config, processes=processes)


if __name__ == "__main__":
    sys.exit(app())
