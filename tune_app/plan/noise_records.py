"""The seeds' noise as it was measured for a few sizes and lengths: `search_spaces/noise.csv`.

A line is for one kind of sweep: its corpus, parameters and tokens, and the settings that its other
columns name, of which an empty one is not compared. It holds for a sweep whose parameters and
tokens are within a factor of NEAR of its own, and whose cells all have its other values. It is
never scaled: from 1M parameters and 150k tokens to 17M and full budgets the noise falls twentyfold,
and nothing here says how in between.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import search_spaces
from data.suggestions import did_you_mean
from tune_app.plan.identity import FROZEN_DEFAULTS, canonical, completed

FILE = "noise.csv"
NEAR = 1.5
"""Factor of parameters and of tokens up to which a record holds."""

_NEAR = ("target_parameters", "tokens")
_OWN: Mapping[str, Callable[[str], Any]] = {
    "sigma": float,
    "degrees_of_freedom": int,
    "runs": int,
    "source": str,
}


@dataclass(frozen=True, kw_only=True)
class NoiseRecord:
    """A measured standard deviation over seeds, and the sweeps that it holds for.

    Raises ValueError for one that nobody measured.
    """

    settings: Mapping[str, Any]
    """What a cell must have: corpus, target_parameters, tokens and others."""
    sigma: float
    """Bits per byte of the full dev split."""
    degrees_of_freedom: int
    runs: int
    source: str
    """How it was measured, in words."""

    def __post_init__(self) -> None:
        for name in ("corpus", *_NEAR):
            if name not in self.settings:
                raise ValueError(f"{name} is empty; a record needs it")
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma is {self.sigma!r}; it must be a positive number")
        if not 1 <= self.degrees_of_freedom < self.runs:
            raise ValueError(
                f"degrees_of_freedom is {self.degrees_of_freedom}; it must be at least 1 and less "
                f"than runs, {self.runs}: each design takes one away"
            )
        if not self.source:
            raise ValueError("source is empty; say how it was measured")

    def holds_for(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds for a cell with these values."""
        return all(_fits(name, known, values.get(name)) for name, known in self.settings.items())


def recorded_noise() -> tuple[NoiseRecord, ...]:
    """The records that come with the project."""
    return read_records(Path(search_spaces.__path__[0]) / FILE)


def read_records(path: Path) -> tuple[NoiseRecord, ...]:
    """The records of a file. Raises ValueError, with the line, for one that is malformed."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            names = reader.fieldnames or ()
            _refuse_header(names)
            found = []
            for row in reader:
                found.append(_record(row))
                if any(record.settings == found[-1].settings for record in found[:-1]):
                    raise ValueError("it is for the same sweeps as an earlier line; pool the two")
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}, line {max(1, reader.line_num)}: {error}") from error
    return tuple(found)


def fitting(
    records: Iterable[NoiseRecord], cells: Sequence[Mapping[str, Any]]
) -> NoiseRecord | None:
    """The record that holds for all cells of a sweep; of several, the one with the nearest tokens.

    cells: their values as they are recorded in a journal; settings that are missing have their
        frozen defaults.
    """
    whole = [completed(values) for values in cells]
    held = [record for record in records if all(map(record.holds_for, whole))]
    if not held or not whole:
        return None
    return min(held, key=lambda record: abs(math.log(record.settings["tokens"] / _tokens(whole))))


def _tokens(cells: Sequence[Mapping[str, Any]]) -> float:
    return float(cells[0]["tokens"])


def _fits(name: str, known: Any, value: Any) -> bool:
    if name not in _NEAR:
        return bool(canonical(known) == canonical(value))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        return False
    return bool(1 / NEAR <= value / known <= NEAR)


def _refuse_header(names: Sequence[str]) -> None:
    for name in ("corpus", *_NEAR, *_OWN):
        if name not in names:
            raise ValueError(f"the column {name} is missing")
    for name in names:
        if name not in _OWN and type(FROZEN_DEFAULTS.get(name)) not in (int, float, str):
            hint = did_you_mean(name, FROZEN_DEFAULTS)
            raise ValueError(
                f"unknown column {name!r}; {hint}expected a setting with plain values, or one of "
                f"{', '.join(_OWN)}"
            )
        if names.count(name) > 1:
            raise ValueError(f"the column {name} is there twice")


def _record(row: Mapping[str | None, Any]) -> NoiseRecord:
    if None in row or None in row.values():
        raise ValueError("it has another number of fields than the header")
    fields = {str(name): str(text).strip() for name, text in row.items()}
    own = {name: _read(name, read, fields.pop(name)) for name, read in _OWN.items()}
    settings = {
        name: _read(name, type(FROZEN_DEFAULTS[name]), text)
        for name, text in fields.items()
        if text
    }
    for name in _NEAR:
        if settings.get(name, 1) < 1:
            raise ValueError(f"{name} is {settings[name]!r}; it must be at least 1")
    return NoiseRecord(settings=settings, **own)


def _read(name: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError:
        kind = "a whole number" if read is int else "a number"
        raise ValueError(f"{name} is {text!r}; it must be {kind}") from None
