"""Trainings whose results are lines of a file, so that a benchmark goes on where it was."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tune_app.journal.records import Observation
from tune_app.trial.trial import Trial


def full_score(trial: Trial) -> float:
    """Trains to the end: bits per byte of the full dev split, infinite if it diverges."""
    last = trained(trial)
    return math.inf if last is None else last.metrics.get("full_bits_per_byte", math.inf)


def trained(trial: Trial) -> Observation | None:
    """Trains to the end and returns the last observation; None if it diverges."""
    last = None
    while not trial.finished:
        last = trial.advance()
        if last is None or not math.isfinite(last.train_loss):
            return None
    return last


def append(file: Path, line: Mapping[str, Any]) -> None:
    """Adds a line to a file."""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(line, ensure_ascii=False) + "\n")


def recorded(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The lines of files that `append` wrote."""
    for file in files:
        for line in file.read_text("utf-8").splitlines():
            yield json.loads(line)
