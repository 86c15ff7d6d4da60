"""Lets programs take turns: each in a process of its own, one running at a time.

Every contender prints a figure when it is ready, then does its work and prints a figure for each
line that it reads. Turns are interleaved, so that a busy spell of the machine hits all alike, and
ratios are taken within a round.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def race(commands: Mapping[str, Sequence[str]], *, rounds: int) -> dict[str, Lap]:
    """Lets the programs take turns. Raises RuntimeError if one of them fails."""
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
