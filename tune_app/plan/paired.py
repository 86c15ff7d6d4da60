"""Paired axes: settings whose values vary together, as where the vocabulary carries the share.

    AXES = {("embedding_ratio", "vocab_size"): [(0.25, 11_200), (0.35, 16_000), (0.45, 20_096)]}

Each row is one value of the axis; other axes are combined with rows, not with single values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Names = tuple[str, ...]
Rows = Sequence[Sequence[Any]]


def refuse_impossible(axes: Mapping[Any, Any]) -> None:
    """Raises ValueError for a paired axis without names or rows that fit, or a name in two axes.

    axes: as a space file gives them, with a tuple of names for each paired axis.
    """
    taken: set[str] = set()
    for key, rows in axes.items():
        names = key if isinstance(key, tuple) else (key,)
        if strange := [name for name in names if not isinstance(name, str)]:
            raise ValueError(f"{strange[0]!r} is no name of a setting; it must be a text")
        for name in names:
            if name in taken:
                raise ValueError(f"{name} is in two axes; keep it in one of them")
            taken.add(name)
        if isinstance(key, tuple):
            _refuse_rows(key, rows)


def _refuse_rows(names: Names, rows: Any) -> None:
    if len(names) < 2:
        raise ValueError(
            f"{', '.join(names) or 'an axis'} is in a tuple of {len(names)}; a paired axis names "
            "two settings or more, and a single one is written without a tuple"
        )
    what, those = ", ".join(names), f"({', '.join(names)})"
    if not isinstance(rows, (list, tuple)) or not rows:
        raise ValueError(
            f"{what} is {rows!r}; paired axes need a list of rows, each with a value for {those}"
        )
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) != len(names):
            number = len(row) if isinstance(row, (list, tuple)) else 1
            raise ValueError(
                f"{what}: the row {row!r} has {number} {'value' if number == 1 else 'values'} for "
                f"{len(names)} settings; give one for each of {those}"
            )


def columns(axes: Mapping[Any, Any]) -> dict[str, Any]:
    """The axes by single names: each name of a paired axis with its values, in the rows' order."""
    found: dict[str, Any] = {}
    for key, values in axes.items():
        if isinstance(key, tuple):
            found |= {name: [row[at] for row in values] for at, name in enumerate(key)}
        else:
            found[key] = values
    return found


def combinations(
    listed: Mapping[str, Sequence[Any]], paired: Sequence[Names]
) -> Iterator[dict[str, Any]]:
    """Every combination of the axes' values, where paired axes vary together.

    Args:
        listed: axis → its values; those of paired axes are equally many.
        paired: the names of each paired axis.
    """
    together = {name: names for names in paired for name in names}
    groups = dict.fromkeys(together.get(name, (name,)) for name in listed)
    rows = [zip(*(listed[name] for name in names), strict=True) for names in groups]
    for chosen in itertools.product(*rows):
        point = dict(zip(itertools.chain(*groups), itertools.chain(*chosen), strict=True))
        yield {name: point[name] for name in listed}
