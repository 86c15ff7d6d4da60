"""The corpora of a mixed one while a trial trains: their scores, and shares that follow them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data.mixture import Shares, surprised
from data.scheduled_batches import ScheduledBatches
from model.evaluation.bits_per_byte import evaluate
from model.evaluation.scored_batches import ScoredDocuments
from model.network.transformer import Transformer
from tune_app.trial.data import DomainData

SCORE, FULL, SHARE = "domain_bits_per_byte", "full_domain_bits_per_byte", "mixture_share"
"""Families of metrics, by the label of a corpus."""


class Domains:
    """Scores each corpus apart, and, where surprise decides, draws by what the scores say.

    The shares then depend on evaluations. They are part of the state of a trial, so that what is
    resumed draws the same text again.

    Args:
        domains: of the trial's corpus; none for a plain one.
        samples: of each, to score at every evaluation.
        precision: of the products of these scores; all of dev is scored in fp32.
        batches: of the trial.
        shares: at the start; None if corpora are mixed by their size.
        surprise: the power of a loss in its corpus' share; 0 for shares that no loss changes.
    """

    def __init__(
        self,
        domains: Sequence[DomainData],
        batches: object,
        *,
        samples: Sequence[ScoredDocuments],
        precision: str,
        shares: Shares | None,
        surprise: float,
    ) -> None:
        self._domains = tuple(domains)
        self._samples = tuple(samples)
        self._precision = precision
        self._batches = batches if isinstance(batches, ScheduledBatches) else None
        self._shares = shares
        self._surprise = surprise
        self._starts: tuple[float, ...] = ()
        """Bits per byte of each corpus before the first step."""
        self._changes: list[tuple[int, Shares]] = []
        """The first step of each change, and the shares from there on."""

    def begin(self, model: Transformer) -> None:
        """Scores the untrained model, if its losses will be needed."""
        if self._surprise and not self._starts:
            self._starts = self._scores(model)

    def observe(self, model: Transformer, *, step: int, last: bool) -> dict[str, float]:
        """The metrics of the corpora; sets the shares from the next step on.

        step: the next one.
        last: whether training has ended, and all of dev is scored.
        """
        if not self._domains:
            return {}
        scores = self._scores(model)
        metrics = self._named(SCORE, scores)
        if last:
            full = [evaluate(model, domain.full).bits_per_byte for domain in self._domains]
            metrics |= self._named(FULL, full)
        if self._batches is None or self._batches.mixture is None:
            return metrics
        if self._surprise and self._starts and not last:
            assert self._shares is not None
            shares = surprised(self._shares, scores, self._starts, power=self._surprise)
            self._change(step, shares)
        sequence = self._batches.curriculum.sequences_before(step)
        return metrics | self._named(SHARE, self._batches.mixture.shares(sequence))

    def state(self) -> dict[str, Any]:
        """What decides the batches, besides the cell; empty if nothing does."""
        if not self._surprise:
            return {}
        return {
            "starts": list(self._starts),
            "changes": [[step, list(shares)] for step, shares in self._changes],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state` returned."""
        self._starts = tuple(state.get("starts", ()))
        for step, shares in state.get("changes", ()):
            self._change(step, tuple(shares))

    def _change(self, step: int, shares: Shares) -> None:
        assert self._batches is not None
        self._batches.shares_from(step, shares)
        self._changes.append((step, shares))

    def _scores(self, model: Transformer) -> tuple[float, ...]:
        return tuple(
            evaluate(model, sample, precision=self._precision).bits_per_byte
            for sample in self._samples
        )

    def _named(self, family: str, values: Sequence[float]) -> dict[str, float]:
        return {
            f"{family}/{domain.label}": value
            for domain, value in zip(self._domains, values, strict=True)
        }
