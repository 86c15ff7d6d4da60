"""How well the dev sample stood for the whole split: what it decided on against what is ranked.

Over cells that trained to the end, on their last evaluation. Pure.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tune_app.journal.records import Status
from tune_app.results.summary import SweepResults

FEWEST_CELLS = 3


@dataclass(frozen=True, kw_only=True)
class SampleCheck:
    """The sample against the whole split, over finished cells."""

    cells: int
    spearman: float
    """Of ranks; ties share their mean rank. NaN if all scores are equal."""
    pearson: float
    gap_error: float
    """Standard deviation over cells of sample minus whole split, bits per byte. An offset that is
    the same for all cells changes no rank and does not count."""

    @property
    def sentence(self) -> str:
        return (
            f"Over the {self.cells} cells that finished, the dev sample that stopping decided on "
            f"ranks as the whole split with a Spearman correlation of {self.spearman:.2f} (Pearson "
            f"{self.pearson:.2f}); its error in comparing cells is {self.gap_error:.4f} bits per "
            "byte (standard deviation)."
        )


def sample_check(results: SweepResults) -> SampleCheck | None:
    """None for fewer than FEWEST_CELLS finished cells with finite scores."""
    pairs = [
        (cell.last.bits_per_byte, cell.last.full_bits_per_byte)
        for cell in results.with_status(Status.FINISHED)
        if cell.last is not None and cell.last.full_bits_per_byte is not None
    ]
    pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
    if len(pairs) < FEWEST_CELLS:
        return None
    sample, whole = zip(*pairs, strict=True)
    return SampleCheck(
        cells=len(pairs),
        spearman=_correlation(_ranks(sample), _ranks(whole)),
        pearson=_correlation(sample, whole),
        gap_error=statistics.stdev(one - other for one, other in pairs),
    )


def undecided(results: SweepResults) -> list[str]:
    """A sentence if the sample was too small for a rule that would have stopped a cell."""
    held = [one for one in results.decisions if one.evidence.get("undecided")]
    if not held:
        return []
    labels = {result.cell.key: result.cell.label for result in results.cells}
    names = ", ".join(dict.fromkeys(labels[one.cell] for one in held))
    return [
        f"The dev sample was too small to stop {names}: {held[0].reason} (the first of "
        f"{len(held)} such decisions)."
        if len(held) > 1
        else f"The dev sample was too small to stop {names}: {held[0].reason}."
    ]


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    try:
        return statistics.correlation(one, other)
    except statistics.StatisticsError:
        return math.nan


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]
