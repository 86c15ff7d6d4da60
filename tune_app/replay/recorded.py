"""Recorded learning curves to replay: those of a sweep, or of a table.

A table is a CSV or Parquet file with a row per evaluation, as a sweep writes `curves.parquet`:

- `cell`: the name of the cell, and `label` for people if there is one;
- `tokens`: trained so far (`baseline_tokens` goes before it where there is one);
- `bits_per_byte`: the score then, lower is better;
- `full_bits_per_byte`: the score at the end, if another text is scored there (may be empty);
- `seconds`, or several columns `seconds_…`: taken so far; without them a token takes a microsecond.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tune_app.journal.reading import JournalReader
from tune_app.journal.records import CellRecord, Observation, Status

NEEDED = ("cell", "tokens", "bits_per_byte")


@dataclass(frozen=True, kw_only=True)
class Point:
    """An evaluation of a cell."""

    tokens: int
    """Baseline tokens so far."""
    score: float
    """Bits per byte."""
    seconds: float
    """Taken so far."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A cell that was trained to its end."""

    cell: CellRecord
    points: tuple[Point, ...]
    final: float
    """Its score, by which cells are ranked: bits per byte."""

    def observations(self) -> tuple[Observation, ...]:
        """As rules judge them; the last one is the end of training."""
        last = len(self.points) - 1
        return tuple(
            Observation(
                cell=self.cell.key,
                tokens=point.tokens,
                baseline_tokens=point.tokens,
                metrics={
                    "bits_per_byte": point.score,
                    "train_loss": 0.0,
                    **({"full_bits_per_byte": self.final} if at == last else {}),
                },
            )
            for at, point in enumerate(self.points)
        )


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The curves of one grid. Raises ValueError for fewer than two."""

    curves: tuple[Curve, ...]
    baseline: str
    """Key of the cell that no scheduler stops or pauses."""
    nuisance: tuple[str, ...] = ()
    dropped: int = 0
    """Cells that were not trained to the end, and so cannot be replayed."""

    def __post_init__(self) -> None:
        if len(self.curves) < 2:
            raise ValueError(
                f"{len(self.curves)} of {len(self.curves) + self.dropped} cells were trained to "
                "the end; a replay needs at least 2, as from a sweep with --scheduler none"
            )

    @property
    def tokens(self) -> int:
        """Of a cell that is trained to the end."""
        return max(curve.points[-1].tokens for curve in self.curves)

    @property
    def best(self) -> float:
        """The score of the best cell."""
        return min(curve.final for curve in self.curves)

    @property
    def regrets(self) -> dict[str, float]:
        """By how much each cell ends worse than the best one, in bits per byte."""
        return {curve.cell.key: curve.final - self.best for curve in self.curves}


def of_journal(journal: JournalReader) -> Recorded:
    """The curves of a sweep's finished cells. Raises ValueError for fewer than two."""
    with journal.one_moment():
        sweep, cells, observations = journal.sweep(), journal.cells(), journal.observations()
    seen: dict[str, list[Observation]] = {}
    for one in observations:
        seen.setdefault(one.cell, []).append(one)
    return recorded_of(cells, seen, baseline=sweep.baseline, nuisance=sweep.nuisance)


def recorded_of(
    cells: Sequence[CellRecord],
    seen: Mapping[str, Sequence[Observation]],
    *,
    baseline: str,
    nuisance: Sequence[str] = (),
) -> Recorded:
    """The curves of those cells that are FINISHED. Raises ValueError for fewer than two.

    Args:
        cells: of a sweep.
        seen: key → observations.
        baseline: key of the baseline; another cell takes its place if it did not finish.
        nuisance: the sweep's nuisance axes.
    """
    curves = [
        _curve(
            replace(cell, status=Status.PENDING),
            [
                (one.baseline_tokens, one.bits_per_byte, sum(one.seconds.values()))
                for one in seen[cell.key]
            ],
            next(
                (one.full_bits_per_byte for one in seen[cell.key] if one.full_bits_per_byte), None
            ),
        )
        for cell in cells
        if cell.status is Status.FINISHED
    ]
    competing = [c for c in cells if c.status not in (Status.INFEASIBLE, Status.LEFT_OUT)]
    keys = [curve.cell.key for curve in curves]
    return Recorded(
        curves=tuple(curves),
        baseline=baseline if baseline in keys else (keys or [""])[0],
        nuisance=tuple(nuisance),
        dropped=len(competing) - len(curves),
    )


def of_table(path: Path) -> Recorded:
    """The curves in a CSV or Parquet file; the first cell counts as the baseline.

    A cell that ends at fewer tokens than the longest was not trained to the end. Raises ValueError
    for a table without the columns, without numbers in them, or with fewer than two such cells.
    """
    rows = _rows(path)
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(str(row["cell"]), []).append(row)
    curves = []
    for at, (name, own) in enumerate(found.items()):
        points = [
            (
                int(_number(path, row, "baseline_tokens", "tokens")),
                _number(path, row, "bits_per_byte"),
                _seconds(path, row),
            )
            for row in own
        ]
        finals = [row["full_bits_per_byte"] for row in own if row.get("full_bits_per_byte")]
        cell = CellRecord(
            key=name,
            label=str(own[0].get("label") or name),
            position=at,
            values={"cell": name},
            status=Status.PENDING,
            config={},
        )
        curves.append(_curve(cell, points, float(finals[-1]) if finals else None))
    longest = max((curve.points[-1].tokens for curve in curves), default=0)
    # Tokenizers differ a little in how many tokens a text has.
    whole = [curve for curve in curves if curve.points[-1].tokens >= 0.98 * longest]
    return Recorded(
        curves=tuple(whole),
        baseline=whole[0].cell.key if whole else "",
        dropped=len(curves) - len(whole),
    )


def _curve(
    cell: CellRecord, points: Iterable[tuple[int, float, float]], final: float | None
) -> Curve:
    ordered = tuple(
        Point(tokens=tokens, score=score, seconds=seconds)
        for tokens, score, seconds in sorted(points)
    )
    score = ordered[-1].score if final is None else final
    # A cell that diverged in the end is the worst one.
    return Curve(cell=cell, points=ordered, final=score if math.isfinite(score) else 1e9)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    import pyarrow.csv  # noqa: PLC0415 - takes a moment
    import pyarrow.parquet  # noqa: PLC0415

    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}; name a sweep, or a CSV or Parquet file")
    try:
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
        else:
            table = pyarrow.csv.read_csv(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is not a table of curves: {error}") from None
    missing = [name for name in NEEDED if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{path} has no column {missing[0]}; a table of curves has {', '.join(NEEDED)} and, "
            "if they are known, seconds and full_bits_per_byte"
        )
    rows: list[Mapping[str, Any]] = table.to_pylist()
    return rows


def _number(path: Path, row: Mapping[str, Any], *names: str) -> float:
    for name in names:
        if (value := row.get(name)) is not None:
            try:
                return float(value)
            except ValueError:
                raise ValueError(
                    f"{path}: {name} of cell {row['cell']} is {value!r}, not a number"
                ) from None
    raise ValueError(f"{path}: {names[-1]} of cell {row['cell']} is missing in a row")


def _seconds(path: Path, row: Mapping[str, Any]) -> float:
    names: Sequence[str] = [
        name for name in row if name == "seconds" or name.startswith("seconds_")
    ]
    if names:
        return sum(_number(path, row, name) for name in names if row[name] is not None)
    return _number(path, row, "baseline_tokens", "tokens") * 1e-6
