"""Names of a sweep's cells: short, values first, and no two alike.

`0.0032 × geglu × 4`: the values on the sweep's axes in their order; `title` names the axes. Numbers
have only as many digits as tell them apart. Names are for people: they depend on the other cells
of the sweep, so they may change when it is extended, and nothing is identified by them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from tune_app.plan.followed import follows
from tune_app.plan.identity import BASELINE, canonical
from tune_app.plan.labels import (
    SELF_EXPLANATORY,
    axis_name,
    describe_other,
    describe_value,
    is_number,
)
from tune_app.plan.rows import PlannedCell
from tune_app.plan.shortening import BETWEEN, shortened

SEED = "seed"

_EXACT = 4
"""Numbers of up to this many significant digits are shown as they are."""
_LONGEST = 24
"""Longer texts are shortened in the middle, in characters."""

AnyCell = TypeVar("AnyCell", bound=PlannedCell)


class CellNames:
    """The names of one sweep's values and cells.

    Args:
        cells: the values of every cell, the baseline first.
        axes: of the sweep; `seed` may be one of them.
    """

    def __init__(self, cells: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> None:
        self._cells = cells
        self._axes = tuple(axis for axis in axes if axis != SEED)
        self._seeds = SEED in axes
        self._texts = {
            axis: _texts(axis, [values.get(axis) for values in cells]) for axis in self._axes
        }
        self._usual = _usual(cells, self._axes)

    @property
    def title(self) -> str:
        """What the values in a name are: `learning rate × feed-forward × heads`."""
        return BETWEEN.join(map(axis_name, self._axes))

    def value(self, axis: str, value: Any) -> str:
        """A value on an axis; a value that no cell has is described by itself."""
        return self._texts.get(axis, {}).get(_key(value)) or describe_value(axis, value)

    def combination(self, values: Mapping[str, Any], axes: Sequence[str]) -> str:
        """The values on some of the axes."""
        return BETWEEN.join(self.value(axis, values.get(axis)) for axis in axes)

    def off_axes(self, values: Mapping[str, Any]) -> str:
        """Values outside the axes that most cells do not have: `feed-forward reglu`, or empty.

        They are those of a baseline that the space sets apart from its cells.
        """
        return ", ".join(
            f"{axis_name(name)} {describe_value(name, values.get(name))}"
            for name, usual in self._usual.items()
            if _key(values.get(name)) != usual
        )

    def design(self, values: Mapping[str, Any]) -> str:
        """The name of a cell without its seed."""
        name = self.combination(values, self._axes)
        if len(self._axes) == 1:
            (axis,) = self._axes
            value = values.get(axis)
            if axis not in SELF_EXPLANATORY and not isinstance(value, (str, Mapping)):
                # A lone number says nothing.
                name = f"{axis_name(axis)} {name}"
        apart = self.off_axes(values)
        return f"{name} ({apart})" if apart and name else name or apart or "baseline"

    def all(self) -> list[str]:
        """The name of every cell, in their order."""
        seeds = [
            f"{BETWEEN}seed {values.get(SEED)}" if self._seeds else "" for values in self._cells
        ]
        return _numbered(
            [self.design(values) + seed for values, seed in zip(self._cells, seeds, strict=True)]
        )


def named(cells: Sequence[AnyCell], axes: Sequence[str]) -> list[AnyCell]:
    """The cells with their names in this sweep.

    Cells keep their own labels if one lacks a value on an axis, as in records of other versions.
    """
    if not axes or any(axis not in cell.values for cell in cells for axis in axes):
        return list(cells)
    names = CellNames([cell.values for cell in cells], axes).all()
    return [replace(cell, label=name) for cell, name in zip(cells, names, strict=True)]


def _usual(cells: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> dict[str, str]:
    """The most frequent value of each setting outside the axes that not all cells share."""
    names = {name: None for values in cells for name in values}
    usual = {}
    for name in names:
        if name in (*axes, SEED, BASELINE) or follows(name, cells):
            continue
        # The baseline comes first; of two equally frequent values it has the unusual one.
        counts = Counter(_key(values.get(name)) for values in reversed(cells))
        if len(counts) > 1:
            usual[name] = counts.most_common(1)[0][0]
    return usual


def _texts(axis: str, values: Sequence[Any]) -> dict[str, str]:
    """A text for each value of an axis, by `_key`; different texts for different values."""
    distinct = {_key(value): value for value in values}
    numbers = {key: value for key, value in distinct.items() if is_number(value)}
    texts = _number_texts(axis, numbers)
    others = {key: value for key, value in distinct.items() if key not in numbers}
    texts |= zip(
        others,
        shortened([describe_other(value, axis) for value in others.values()], _LONGEST),
        strict=True,
    )
    if len(set(texts.values())) < len(texts):
        # For example two files of one name in different folders.
        texts |= zip(
            others, shortened([_full(value) for value in others.values()], _LONGEST), strict=True
        )
    return dict(zip(texts, _numbered(list(texts.values())), strict=True))


def _full(value: Any) -> str:
    """A value with everything that tells it from another: a file by its whole path."""
    if isinstance(value, Mapping) and "file" in value:
        value = value["file"]
    return " ".join((value if isinstance(value, str) else _key(value)).split())


def _number_texts(axis: str, numbers: Mapping[str, int | float]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for digits in range(2, 18):
        texts = {key: _number(axis, value, digits) for key, value in numbers.items()}
        if len(set(texts.values())) == len(texts):
            break
    return texts


def _number(axis: str, value: int | float, digits: int) -> str:
    """`0.0032`, `16,000`, `2.66`, `28%`: exact if that is short, else to so many digits."""
    if not math.isfinite(value):
        return str(value)
    number = Decimal(repr(value)) * (100 if axis == "embedding_ratio" else 1)
    unit = "%" if axis == "embedding_ratio" else ""
    if number == number.to_integral_value() and abs(number) < 10**15:
        return f"{int(number):,}{unit}"
    own = len(number.normalize().as_tuple().digits)
    return f"{float(number):.{own if own <= _EXACT else digits}g}{unit}"


def _numbered(texts: Sequence[str]) -> list[str]:
    """Equal texts get a number: `a`, `a (2)`."""
    taken: set[str] = set()
    unique = []
    for text in texts:
        candidate, number = text, 1
        while candidate in taken:
            number += 1
            candidate = f"{text} ({number})"
        taken.add(candidate)
        unique.append(candidate)
    return unique


def _key(value: Any) -> str:
    """Equal for values that mean the same."""
    return json.dumps(canonical(value), sort_keys=True, default=str)
