"""Lets programs, or functions of this process, take turns: one running at a time.

A program is a process of its own. It prints a figure when it is ready, then does its work and
prints a figure for each line that it reads. Turns are interleaved, so that a busy spell of the
machine hits all alike, and ratios are taken within a round.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True, kw_only=True)
class Lap:
    """One contender's figures over the rounds."""

    ready_seconds: float
    """Until its first turn: imports, building, compiling, warming up."""
    figures: tuple[float, ...]
    """One per round."""

    @property
    def middle(self) -> float:
        """The median over rounds."""
        return median(self.figures)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest."""
        return min(self.figures), max(self.figures)


def race(
    commands: Mapping[str, Sequence[str]],
    *,
    rounds: int,
    folders: Mapping[str, Path] | None = None,
) -> dict[str, Lap]:
    """Lets the programs take turns. Raises RuntimeError if one of them fails.

    commands: by name, what Python is called with.
    folders: in which some of them run; the others run in this process's.
    """
    programs: dict[str, subprocess.Popen[str]] = {}
    ready: dict[str, float] = {}
    figures: dict[str, list[float]] = {name: [] for name in commands}
    try:
        for name, arguments in commands.items():
            programs[name] = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=(folders or {}).get(name),
            )
            ready[name] = _answer(name, programs[name])
            print(f"{name}: ready in {ready[name]:.1f} s", flush=True)
        for _ in range(rounds):
            for name, program in programs.items():
                figures[name].append(_turn(name, program))
    finally:
        for program in programs.values():
            program.kill()
            program.wait()
    return {name: Lap(ready_seconds=ready[name], figures=tuple(figures[name])) for name in commands}


def take_turns(contenders: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, Lap]:
    """Lets functions that return a figure take turns, after one of each to warm up."""
    ready: dict[str, float] = {}
    for name, turn in contenders.items():
        started = time.perf_counter()
        turn()
        ready[name] = time.perf_counter() - started
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, turn in contenders.items():
            figures[name].append(turn())
    return {name: Lap(ready_seconds=ready[name], figures=tuple(figures[name])) for name in ready}


def ratios(laps: dict[str, Lap], name: str, to: str) -> tuple[float, float, float]:
    """Median, least and greatest of one contender's figure over another's, round by round."""
    each = [a / b for a, b in zip(laps[name].figures, laps[to].figures, strict=True)]
    return median(each), min(each), max(each)


def _turn(name: str, program: subprocess.Popen[str]) -> float:
    assert program.stdin is not None
    program.stdin.write("go\n")
    program.stdin.flush()
    return _answer(name, program)


def _answer(name: str, program: subprocess.Popen[str]) -> float:
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        raise RuntimeError(f"{name} ended with status {program.wait()}; its output is above")
    return float(line)
