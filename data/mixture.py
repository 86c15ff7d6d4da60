"""From which corpus each sequence of training is drawn: shares that may change, as closed forms.

The number of sequences that a corpus has given before any point is a formula of that point, so the
corpus of a sequence, and its place in that corpus, need no memory of what came before.

Shapes: K corpora, N sequences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from data.curriculum import Curriculum

Shares: TypeAlias = tuple[float, ...]
"""Of each corpus, in their order; they sum to 1."""

_SUM_WITHIN = 1e-6


def in_shares(numbers: Sequence[float]) -> Shares:
    """Shares, or percentages that sum to 100, as shares; other numbers stay as they are."""
    if abs(sum(numbers) - 100) <= 100 * _SUM_WITHIN:
        return tuple(number / 100 for number in numbers)
    return tuple(float(number) for number in numbers)


def check_shares(name: str, shares: Shares, *, corpora: Sequence[str]) -> None:
    """Raises ValueError for shares that cannot be those of the corpora."""
    if len(corpora) < 2:
        raise ValueError(
            f"{name} is {_text(shares)}, but there is only one corpus, {corpora[0]}; name several "
            "with --mix, or as mix:ONE + OTHER"
        )
    if len(shares) != len(corpora):
        raise ValueError(
            f"{name} has {len(shares)} shares, {_text(shares)}, for {len(corpora)} corpora, "
            f"{', '.join(corpora)}; give one for each"
        )
    if not all(0 <= share < math.inf for share in shares):
        raise ValueError(f"{name} is {_text(shares)}; shares must be 0 or more")
    if abs(sum(shares) - 1) > _SUM_WITHIN:
        raise ValueError(
            f"{name} is {_text(shares)}, which sums to {sum(shares):g}; shares must sum to 1, or "
            "percentages to 100"
        )


def surprised(
    shares: Shares, losses: Sequence[float], starts: Sequence[float], *, power: float
) -> Shares:
    """New shares: each multiplied by (loss / loss at the start) ** power, and scaled to sum to 1.

    A corpus of which little has been learned yet is drawn more often. With a loss that is not
    finite the shares stay as they are.
    """
    weights = [
        share * (loss / start) ** power if start > 0 else share
        for share, loss, start in zip(shares, losses, starts, strict=True)
    ]
    total = sum(weights)
    if not math.isfinite(total) or total <= 0:
        return shares
    return tuple(weight / total for weight in weights)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Shares from one sequence on: they change linearly until the next span, where they are `end`.

    In the last span they stay `begin`.
    """

    first: int
    """Its first sequence."""
    begin: Shares
    end: Shares


def annealed(
    begin: Shares, end: Shares | None, *, fraction: float, curriculum: Curriculum, tokens: int
) -> Mixture:
    """Shares that stay `begin` and change linearly to `end` over the last part of training.

    end: None for shares that do not change.
    fraction: the part of the training's `tokens` over which they change.
    """
    if end is None:
        return Mixture([Span(first=0, begin=begin, end=begin)])
    from_token = tokens * (1 - fraction)
    last = curriculum.sequences_at(tokens)
    points = {0, curriculum.sequences_at(from_token), last}
    points |= {stage.first_sequence for stage in curriculum.stages}

    def at(sequence: int) -> Shares:
        done = (curriculum.tokens_at(sequence) - from_token) / (tokens - from_token)
        part = min(1.0, max(0.0, done))
        return tuple(one + part * (two - one) for one, two in zip(begin, end, strict=True))

    ordered = sorted(point for point in points if point <= last)
    spans = [Span(first=one, begin=at(one), end=at(two)) for one, two in pairwise(ordered)]
    return Mixture([*spans, Span(first=last, begin=end, end=end)])


class Mixture:
    """The corpus of every sequence of training.

    At any point each corpus has given as many sequences as its shares so far ask for, to within a
    few: at most K of K corpora.

    Args:
        spans: from sequence 0 on, each later than the one before.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        assert spans and spans[0].first == 0
        assert all(one.first < two.first for one, two in pairwise(spans))
        spans = (*spans[:-1], replace(spans[-1], end=spans[-1].begin))
        self.spans = spans
        pieces: list[_Piece] = []
        drawn_K = np.zeros(len(spans[0].begin), dtype=np.int64)
        owed_K = np.zeros(len(drawn_K))
        for span, following in zip(spans, (*spans[1:], None), strict=True):
            length = None if following is None else following.first - span.first
            piece = _Piece(
                length=length,
                begin_K=np.array(span.begin),
                end_K=np.array(span.end),
                drawn_K=drawn_K,
                owed_K=owed_K,
            )
            pieces.append(piece)
            if length is not None:
                here_K = piece.counts(length)
                owed_K = owed_K + piece.due(np.array([length]))[0] - here_K
                drawn_K = drawn_K + here_K
        self._pieces = tuple(pieces)

    def shares(self, sequence: int) -> Shares:
        """The shares at a sequence."""
        span, piece = self._at(sequence)
        part = 0.0 if piece.length is None else (sequence - span.first) / piece.length
        return tuple((piece.begin_K + part * (piece.end_K - piece.begin_K)).tolist())

    def counts(self, sequence: int) -> NDArray[np.int64]:
        """[K]: how many of the sequences before this one are of each corpus."""
        span, piece = self._at(sequence)
        return piece.drawn_K + piece.counts(sequence - span.first)

    def drawn(self, first: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[N], [N]: the corpora of `number` sequences from `first` on, and for each how many of its
        corpus came before it."""
        corpora, ranks = [], []
        at, end = first, first + number
        while at < end:
            span, piece = self._at(at)
            until = end if piece.length is None else min(end, span.first + piece.length)
            corpora_N, ranks_N = piece.drawn(at - span.first, until - at)
            corpora.append(corpora_N)
            ranks.append(ranks_N)
            at = until
        return np.concatenate(corpora), np.concatenate(ranks)

    def then(self, sequence: int, shares: Shares) -> Mixture:
        """The same up to a sequence, and these shares from there on."""
        before = [span for span in self.spans if span.first < sequence]
        return Mixture([*before, Span(first=sequence, begin=shares, end=shares)])

    def _at(self, sequence: int) -> tuple[Span, _Piece]:
        pairs = zip(self.spans, self._pieces, strict=True)
        return [(span, piece) for span, piece in pairs if span.first <= sequence][-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Piece:
    """The sequences of one span, counted from its first."""

    length: int | None
    """None for the last."""
    begin_K: NDArray[np.float64]
    end_K: NDArray[np.float64]
    drawn_K: NDArray[np.int64]
    """Sequences of each corpus before the span."""
    owed_K: NDArray[np.float64]
    """By how much these are fewer than the shares asked for."""

    def due(self, at_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """[N, K]: how many of the first so many sequences the shares ask for: their integral."""
        if self.length is None:
            return at_N[:, None] * self.begin_K
        inside = np.minimum(at_N, self.length)[:, None]
        bend_K = (self.end_K - self.begin_K) / (2 * self.length)
        within: NDArray[np.float64] = inside * (self.begin_K + inside * bend_K)
        return within + (at_N[:, None] - inside) * self.end_K

    def drawn(self, first: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[N], [N]: as `Mixture.drawn`."""
        before_K, order = self._merged(first, number)
        ranks = np.empty_like(order)
        for corpus, before in enumerate(before_K):
            here = order == corpus
            ranks[here] = before + np.arange(np.count_nonzero(here))
        part = slice(first - int(before_K.sum()), None)
        return order[part], self.drawn_K[order[part]] + ranks[part]

    def counts(self, at: int) -> NDArray[np.int64]:
        """[K]: how many of the first so many sequences are of each corpus."""
        before_K, order = self._merged(at, 0)
        return before_K + np.bincount(order, minlength=len(before_K))

    def _merged(self, first: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[K], [N]: counts at some point up to `first`, and the corpora of the sequences from that
        point up to `first + number`.

        The next sequence of a corpus is due at the point where its rounded share grows by one. What
        is due, in the order of these points, is what is drawn.
        """
        corpora = len(self.begin_K)
        low = first - corpora
        while low > 0 and self._due_by(np.array([low])).sum() > first:
            low -= corpora
        if low <= 0:
            low, before_K = -1, np.zeros(corpora, dtype=np.int64)
        else:
            before_K = self._due_by(np.array([low]))[0]
        high = first + number + corpora
        while (counts_NK := self._due_by(np.arange(low + 1, high + 1)))[-1].sum() < first + number:
            high += corpora
        new_NK = np.diff(counts_NK, axis=0, prepend=before_K[None, :])
        order = np.repeat(np.tile(np.arange(corpora), len(new_NK)), new_NK.ravel())
        return before_K, order[: first + number - int(before_K.sum())]

    def _due_by(self, at_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """[N, K]: what is due in whole sequences; what was drawn too much before is waited out."""
        rounded_NK = np.floor(self.owed_K + self.due(at_N) + 0.5)
        return np.maximum(0, rounded_NK).astype(np.int64)


def _text(shares: Shares) -> str:
    return "/".join(f"{share:g}" for share in shares)
