"""A search as a person runs it: killed again and again, it proposes what it would have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.tune_app.real_sweeps import ROOT, Sweeps, facts, rows, wait_until
from tune_app.journal.records import Status

SETTINGS = {
    "context": "32",
    "tokens": "2_560",
    "evaluations": "5",
    "evaluation_bytes": "4_096",
}
OPTIONS = (
    *(word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")),
    *("--rounds", "2", "--sampler-set", "cells=1", "--sampler-set", "startup=1"),
)
SPACE = ROOT / "search_spaces" / "quick_everything.py"

_IN_CELL = "SELECT 1 FROM {} AS one JOIN cells ON one.cell = cells.key WHERE position = {}"
STRIKES = (
    "SELECT 1 FROM rounds",  # planned, nothing trained
    "SELECT 1 FROM observations",  # in the first cell
    _IN_CELL.format("observations", 1),  # in that of the first round
    "SELECT 1 FROM rounds WHERE number = 2",  # the next round is written, none of it has begun
    _IN_CELL.format("attempts", 2),  # its cell begins
)


def found(sweeps: Sweeps, name: str) -> Mapping[str, Any]:
    with sweeps.journal(name) as journal:
        what = facts(journal)
        return {
            "rounds": journal.rounds(),
            "cells": what["cells"],
            "observations": sorted(
                what["observations"], key=lambda one: (one["cell"], one["tokens"])
            ),
            "left": journal.rounds_left(),
        }


def _has(folder: Path, query: str) -> bool:
    return bool(rows(folder, query))


@pytest.mark.sweeps
def test_a_search_killed_five_times_proposes_what_it_would_have(
    tmp_path: Path, small_corpus: Path, cache: Path
) -> None:
    sweeps = Sweeps(tmp_path, small_corpus, cache)
    options = (*OPTIONS, "--corpus", str(small_corpus))
    code, output = sweeps.run("calm", *options, space=SPACE)
    assert code == 0, output
    assert "search     tpe, 2 rounds of 1 design, seed 0" in output
    assert "[1/3" in output, "later rounds count from the start"
    for strike in STRIKES:
        process = sweeps.start("struck", *options, space=SPACE)
        try:
            wait_until(partial(_has, sweeps.path("struck"), strike), process)
        finally:
            process.kill()
            process.communicate()
    status = subprocess.run(
        [
            sys.executable,
            "-m",
            "tune_app.sweep",
            "status",
            "struck",
            "--results",
            str(tmp_path / "runs"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "round 2 of 2" in status and "no process runs it; continue it with" in status
    code, output = sweeps.run("struck", *options, space=SPACE)
    assert code == 0, output
    calm, struck = found(sweeps, "calm"), found(sweeps, "struck")
    assert struck == calm
    assert len(calm["rounds"]) == 2 and calm["left"] == 0
    assert all(Status(cell["status"]).done for cell in calm["cells"])
    table = pd.read_csv(sweeps.path("struck") / "proposals.csv")
    assert list(table["number"]) == list(range(1, len(table) + 1))
    assert table["refused"].notna().sum() == len(table) - 2
