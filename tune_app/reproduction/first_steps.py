"""A cell's first steps trained again, and their losses compared with the recorded ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from data.errors import CorpusError
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.progress import Report
from data.tokenizers.spec import TokenizerSpec
from tune_app.journal.metrics import metric
from tune_app.journal.records import Observation
from tune_app.plan.cell import Cell
from tune_app.reproduction.difference import Difference
from tune_app.results.designs import CellResult
from tune_app.results.summary import SweepResults
from tune_app.sweep.trained_cell import cell_called, leading_cell
from tune_app.trial.trial import Trial

TOLERANCE = 1e-4
"""Relative. One machine repeats itself bit for bit; others add in another order, which moves the
losses of the first steps in the sixth or seventh digit. Another seed moves them in the third."""


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """What was trained again."""

    label: str
    evaluations: int
    tokens: int
    values: int
    """Numbers that were compared."""
    largest: float
    """Largest relative difference; 0 if all are equal bit for bit."""


def chosen_cell(results: SweepResults, name: str | None) -> CellResult:
    """The cell that is named, else the leader, else the first one with a curve.

    Raises ValueError for an unknown cell, and for one without an evaluation.
    """
    if name is not None:
        found = cell_called(results, name)
    else:
        found = leading_cell(results) or next(
            (cell for cell in results.cells if cell.curve), results.cells[0]
        )
    if not found.curve:
        raise ValueError(
            f"{found.cell.label} has no evaluation yet, so there is nothing to compare with; name "
            "another with --cell, or leave its training out with --without-training"
        )
    return found


def train_again(
    results: SweepResults,
    cell: CellResult,
    *,
    evaluations: int,
    tolerance: float,
    device: str,
    corpus: str | None,
    tokenizers: Mapping[str, str],
    report: Report,
) -> Repeated:
    """Trains a cell to its first evaluations and compares them.

    Args:
        results: of the sweep, as its journal has them.
        cell: of the sweep.
        evaluations: how many; no more than were recorded.
        tolerance: relative, beyond which a value differs.
        device: to train on.
        corpus: where the text is, if not where it was.
        tokenizers: SHA-256 of each tokenizer of the bundle, by its key.
        report: hears of the preparation of the corpus.

    Raises Difference for the first value that differs; ValueError if the corpus is not here, or
    this version cannot train the cell.
    """
    wanted = Cell.from_values(cell.cell.values)
    corpora = _corpora(results, wanted, corpus, tokenizers, report)
    trial = Trial(wanted, solved=cell.cell.solved, corpora=corpora, device=device)
    recorded = sorted(cell.curve, key=lambda point: point.tokens)[:evaluations]
    compared, largest = 0, 0.0
    try:
        for number, old in enumerate(recorded, 1):
            new = trial.advance()
            assert new is not None, "it was given no limit of time"
            name = f"evaluation {number} of the cell {cell.cell.label}, trained again"
            far = _compare(old, new, name=name, tolerance=tolerance, device=device)
            compared, largest = compared + len(far), max([largest, *far])
    finally:
        trial.close()
    return Repeated(
        label=cell.cell.label,
        evaluations=len(recorded),
        tokens=recorded[-1].tokens,
        values=compared,
        largest=largest,
    )


def _corpora(
    results: SweepResults,
    cell: Cell,
    corpus: str | None,
    tokenizers: Mapping[str, str],
    report: Report,
) -> Callable[[TokenizerSpec], PreparedCorpus]:
    name = corpus or cell.settings.corpus

    def prepared(tokenizer: TokenizerSpec) -> PreparedCorpus:
        try:
            found = prepare(name, tokenizer, report=report)
        except CorpusError as error:
            raise ValueError(
                f"the text that the cell was trained on is not here ({error}); give its place with "
                "--corpus, or leave the training out with --without-training"
            ) from error
        _same(f"the corpus {name}", results.sweep.corpus_sha256, found.manifest.corpus_sha256)
        key = found.manifest.tokenizer.key
        if key in tokenizers:
            told = f"the tokenizer {key}, made again from the corpus"
            _same(told, tokenizers[key], found.manifest.tokenizer_sha256)
        return found

    return prepared


def _same(what: str, old: str, new: str) -> None:
    if old != new:
        raise Difference(what, old=f"SHA-256 {old}", new=f"SHA-256 {new}")


def _compare(
    old: Observation, new: Observation, *, name: str, tolerance: float, device: str
) -> list[float]:
    """The relative difference of every number that training the same steps repeats."""
    if old.tokens != new.tokens:
        raise Difference(f"{name}: tokens", old=f"{old.tokens:,}", new=f"{new.tokens:,}")
    found = []
    for one, value in old.metrics.items():
        if not metric(one).repeats:
            continue
        again = new.metrics.get(one, math.nan)
        far = _relative(value, again)
        if far > tolerance:
            raise Difference(
                f"{name}: {metric(one).title}",
                old=repr(value),
                new=repr(again),
                hint=f"the relative difference {far:.1e} is above {tolerance:g}; it was trained "
                f"again on {device}: another kind of device or another precision differs by more, "
                "for which there is --tolerance",
            )
        found.append(far)
    return found


def _relative(old: float, new: float) -> float:
    if old == new or (math.isnan(old) and math.isnan(new)):
        return 0.0
    if not (math.isfinite(old) and math.isfinite(new)):
        return math.inf
    return abs(old - new) / max(abs(old), abs(new))
