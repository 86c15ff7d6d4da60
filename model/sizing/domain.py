"""The sizes that the search considers, and what meets a budget.

d is the width, L the depth, A the attention's width (heads × head size), f the feed-forward's inner
width. The counts come from `model.parts`.

d ≥ 8; 2 ≤ L ≤ 32; head size ≥ 2 and even (rotary positions turn pairs); d/4 ≤ A ≤ 4·d; f ≥ 1, and
if neither f nor the expansion is set, d/4 ≤ f ≤ 16·d. The rank of a factorized embedding is less
than d. A solution has a total, of what the budget counts, within ± 0.5 % of the target and, where
they are set, an embedding share within ± 0.01 of `embedding_ratio`, f/d within
± 2 % of `glu_expansion`, and every pinned size exactly. If the number of heads is free, it is d/64,
rounded and at least one; if the head size is pinned, the search chooses the number, as it does A.
Free heads come in multiples of what key-value heads divide (`ModelSpec.head_unit`).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.experts import EXPERT_COUNTS
from model.parts.embeddings import has_rank
from model.parts.part import Amount, Part
from model.parts.variants import Parts
from model.spec import ModelSpec

TOTAL_TOLERANCE = 0.005
"""Relative, of the total."""
SHARE_TOLERANCE = 0.01
"""Absolute, of the embedding's share."""
EXPANSION_TOLERANCE = 0.02
"""Relative, of inner width over width."""

MIN_WIDTH = 8
MIN_DEPTH = 2
MAX_DEPTH = 32
MAX_ATTENTION_RATIO = 4
"""Attention is at most this many times wider or narrower than the model."""
FREE_EXPANSIONS = (0.25, 16)
"""Bounds of an expansion that is left free."""

REFERENCE_HEAD_DIM = 64

_SLACK = 1e-9
"""Relative slack of bounds in floating point; whole sizes are checked against the tolerances."""

_FEW_WIDTHS = 100
"""Up to so many are all considered: cheaper than finding out which are too wide."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Sizes to count parameters for: integers or arrays that broadcast (`model.parts.part`)."""

    vocab_size: int
    context: int
    d_model: Amount
    n_layers: Amount
    n_heads: Amount = 1
    head_dim: Amount = 1
    d_ff: Amount = 1
    embedding_rank: Amount = 0
    n_kv_heads: Amount = 1
    n_experts: int = 0
    top_k: int = 0
    shared_experts: int = 0

    @property
    def d_attention(self) -> Amount:
        return self.n_heads * self.head_dim

    @property
    def d_kv(self) -> Amount:
        return self.n_kv_heads * self.head_dim


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Pairs of width and depth with the bounds of their other sizes, all [pairs].

    The bounds of totals are a little loose: there is no solution outside them, but not always one
    inside.
    """

    d_model: Integers
    n_layers: Integers
    total_low: Floats
    total_high: Floats
    attention_low: Integers
    """In steps of attention's width, see `Problem.heads`."""
    attention_high: Integers
    inner_low: Integers
    inner_high: Integers
    rank_low: Integers
    """Of the embedding; 0 where it has no rank."""
    rank_high: Integers

    @property
    def empty(self) -> Booleans:
        """Which pairs have no sizes within their bounds."""
        return (
            (self.attention_low > self.attention_high)
            | (self.inner_low > self.inner_high)
            | (self.rank_low > self.rank_high)
        )

    def where(self, kept: Booleans) -> Shapes:
        """The pairs where `kept` is True."""
        return Shapes(**{name: values[kept] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Problem:
    """A spec, and its parts' parameters at candidate sizes."""

    spec: ModelSpec
    parts: Parts

    @classmethod
    def of(cls, spec: ModelSpec) -> Problem:
        return cls(spec, Parts.of(spec))

    @property
    def absorbs(self) -> str | None:
        """The size that absorbs the budget if width and depth are both pinned, else None."""
        spec = self.spec
        if spec.d_model is None or spec.n_layers is None:
            return None
        inner_free = spec.d_ff is None and spec.glu_expansion is None
        part = self.parts.feed_forward if inner_free else self.parts.attention
        return part.free

    def sizes(self, d_model: Amount, n_layers: Amount) -> Candidates:
        return Candidates(
            vocab_size=self.spec.vocab_size,
            context=self.spec.context,
            d_model=d_model,
            n_layers=n_layers,
            **{name: getattr(self.spec, name) or 0 for name in EXPERT_COUNTS},
        )

    def counted(self, part: Part, sizes: Candidates) -> Amount:
        """The parameters of a part that the budget counts."""
        if self.spec.budget == "active":
            return part.active_parameters(sizes)
        return part.parameters(sizes)

    def heads(self, d_model: Amount, step: Amount) -> tuple[Amount, Amount]:
        """(heads, head size) at a step of attention's width: 1, 2, … times the smallest.

        A step adds to what is free: heads of the pinned size, as many as key-value heads need, or
        2 to the size of each head.
        """
        n_heads, head_dim, unit = self.spec.n_heads, self.spec.head_dim, self.spec.head_unit
        if n_heads is None and head_dim is not None:
            return unit * step, head_dim
        if n_heads is None:
            reference = unit * REFERENCE_HEAD_DIM
            n_heads = unit * np.maximum((d_model + reference // 2) // reference, 1)
        return n_heads, 2 * step if head_dim is None else head_dim * step

    def attention(self, d_model: Amount, n_layers: Amount, step: Amount) -> Amount:
        """Parameters of attention at a step of its width."""
        n_heads, head_dim = self.heads(d_model, step)
        sizes = self.with_heads(self.sizes(d_model, n_layers), n_heads, head_dim)
        return self.counted(self.parts.attention, sizes)

    def with_heads(self, sizes: Candidates, n_heads: Amount, head_dim: Amount) -> Candidates:
        """Candidates with so many query heads, and the key-value heads that go with them."""
        heads = {"n_heads": n_heads, "n_kv_heads": self.spec.kv_heads(n_heads)}
        return Candidates(**{**vars(sizes), **heads, "head_dim": head_dim})

    def feed_forward(self, d_model: Amount, n_layers: Amount, d_ff: Amount) -> Amount:
        """Parameters of the feed-forward at an inner width."""
        sizes = Candidates(**{**vars(self.sizes(d_model, n_layers)), "d_ff": d_ff})
        return self.counted(self.parts.feed_forward, sizes)

    def embedding(self, d_model: Amount, rank: Amount = 0) -> Amount:
        """Parameters of embedding and head."""
        sizes = Candidates(**{**vars(self.sizes(d_model, 1)), "embedding_rank": rank})
        return self.counted(self.parts.embedding, sizes)

    def rest(self, d_model: Amount, n_layers: Amount, rank: Amount = 0) -> Amount:
        """Parameters besides attention and feed-forward: embedding, head and norms."""
        norms = self.counted(self.parts.norm, self.sizes(d_model, n_layers))
        return self.embedding(d_model, rank) + norms

    @property
    def has_rank(self) -> bool:
        """Whether the embedding has a rank."""
        return has_rank(self.spec.embedding)

    def embedding_range(self) -> tuple[float, float]:
        """The fewest and the most parameters of embedding and head that target and share allow."""
        target, share = self.spec.target_parameters, self.spec.embedding_ratio
        if share is None:
            return 0.0, (1 + TOTAL_TOLERANCE) * target
        least = (share - SHARE_TOLERANCE) * (1 - TOTAL_TOLERANCE)
        most = (share + SHARE_TOLERANCE) * (1 + TOTAL_TOLERANCE)
        return max(least, 0.0) * target, most * target

    def rank_range(self, d_model: Integers) -> tuple[Integers, Integers]:
        """The least and the greatest rank of the embedding in the domain; 0 where it has none."""
        if not self.has_rank:
            return np.zeros_like(d_model), np.zeros_like(d_model)
        rank = self.spec.embedding_rank
        if rank is not None:
            return np.full_like(d_model, rank), np.minimum(rank, d_model - 1)
        least, most = self.embedding_range()
        low, high = np.ones_like(d_model), d_model - 1
        least, most = least * (1 - _SLACK), most * (1 + _SLACK)
        return (
            _first(lambda rank: self.embedding(d_model, rank) >= least, low, high),
            _first(lambda rank: self.embedding(d_model, rank) > most, low, high) - 1,
        )

    def attention_range(self, d_model: Integers) -> tuple[Integers, Integers]:
        """The first and the last step of attention's width in the domain."""
        n_heads, head_dim = self.heads(d_model, 1)
        least = n_heads * head_dim * np.ones_like(d_model)
        low = np.maximum(-(-d_model // (MAX_ATTENTION_RATIO * least)), 1)
        high = MAX_ATTENTION_RATIO * d_model // least
        if self.spec.n_heads is not None and self.spec.head_dim is not None:
            high = np.minimum(high, 1)
        return low, high

    def inner_range(self, d_model: Integers) -> tuple[Integers, Integers]:
        """The least and the greatest inner width in the domain."""
        expansion, d_ff = self.spec.glu_expansion, self.spec.d_ff
        if expansion is not None:
            inner = d_model * expansion
            low = np.ceil(inner * (1 - EXPANSION_TOLERANCE - _SLACK))
            high = np.floor(inner * (1 + EXPANSION_TOLERANCE + _SLACK))
        else:
            low, high = (d_model * ratio for ratio in FREE_EXPANSIONS)
            low = np.ceil(low)
        low = np.maximum(low, 1).astype(np.int64)
        high = np.asarray(high).astype(np.int64)
        if d_ff is None:
            return low, high
        pinned = np.full_like(d_model, d_ff)
        if expansion is None:
            return pinned, pinned
        return np.maximum(low, pinned), np.minimum(high, pinned)

    def least_without_attention(self, d_model: Integers, n_layers: int) -> Floats:
        """The fewest parameters at a width and depth, without attention.

        In floating point, so that the widest do not overflow. It grows with the width; with
        attention it might not, because heads come in whole numbers.
        """
        width = d_model.astype(np.float64)
        inner = self.inner_range(d_model)[0].astype(np.float64)
        rest = self.rest(width, n_layers, float(self.spec.embedding_rank or 0))
        if self.has_rank and self.spec.embedding_rank is None:
            # Not that of the least rank, which is whole and so falls and rises with the width.
            rest = rest + self.embedding_range()[0]
        total: Floats = rest + self.feed_forward(width, n_layers, inner)
        return total


def allowed_widths(spec: ModelSpec) -> tuple[float, float]:
    """The least and the greatest width, as real numbers, that target and share allow.

    If the share is free, the greatest is where the embedding takes the whole target. With a rank
    they are whole, and no width is the greatest before the rank is 1.
    """
    problem = Problem.of(spec)
    least, most = problem.embedding_range()
    if not problem.has_rank:
        parameters_per_width = int(problem.embedding(1))
        return least / parameters_per_width, most / parameters_per_width
    pinned = spec.embedding_rank
    widths = range(2 if pinned is None else pinned + 1, max(round(most), 2) + 1)
    low = bisect_left(
        widths, least, key=lambda width: problem.embedding(width, pinned or width - 1)
    )
    high = bisect_right(widths, most, key=lambda width: problem.embedding(width, pinned or 1))
    return float(widths.start + low), float(widths.start + high - 1)


def _widths(problem: Problem) -> Integers:
    """Every width that could have a solution."""
    spec = problem.spec
    low, high = allowed_widths(spec)
    first, last = max(math.floor(low), MIN_WIDTH), math.ceil(high)
    if spec.d_model is not None:
        first, last = max(first, spec.d_model), min(last, spec.d_model)
    if last - first < _FEW_WIDTHS:
        return np.arange(first, last + 1)
    # The width at which the fewest and smallest layers alone use up the target.
    depth = MIN_DEPTH if spec.n_layers is None else spec.n_layers
    most = spec.target_parameters * (1 + TOTAL_TOLERANCE)
    too_wide = _first(
        lambda d_model: problem.least_without_attention(d_model, depth) > most,
        np.array([first]),
        np.array([last]),
    )
    return np.arange(first, min(last, int(too_wide[0])) + 1)


def _depths(spec: ModelSpec) -> Integers:
    if spec.n_layers is None:
        return np.arange(MIN_DEPTH, MAX_DEPTH + 1)
    return np.array([n for n in (spec.n_layers,) if MIN_DEPTH <= n <= MAX_DEPTH], dtype=np.int64)


def _first(holds: Callable[[Integers], Amount], low: Integers, high: Integers) -> Integers:
    """The least number from `low` to `high` from which on a condition holds.

    Elementwise; high + 1 where it never holds.
    """
    low, high = low.copy(), high + 1
    while (apart := low < high).any():
        middle = (low + high) // 2
        held = holds(middle)
        high = np.where(apart & held, middle, high)
        low = np.where(apart & ~held, middle + 1, low)
    return low


def allowed_shapes(spec: ModelSpec) -> Shapes:
    """Every pair of width and depth in the domain, with the domain's bounds of other sizes."""
    problem = Problem.of(spec)
    widths, depths = _widths(problem), _depths(spec)
    d_model, n_layers = np.repeat(widths, len(depths)), np.tile(depths, len(widths))
    rank_low, rank_high = problem.rank_range(d_model)
    least, most = (
        problem.embedding(d_model, rank).astype(np.float64) for rank in (rank_low, rank_high)
    )
    total_low = np.full(len(d_model), spec.target_parameters * (1 - TOTAL_TOLERANCE))
    total_high = np.full(len(d_model), spec.target_parameters * (1 + TOTAL_TOLERANCE))
    if spec.embedding_ratio is not None:
        total_low = np.maximum(total_low, least / (spec.embedding_ratio + SHARE_TOLERANCE))
        if spec.embedding_ratio > SHARE_TOLERANCE:
            total_high = np.minimum(total_high, most / (spec.embedding_ratio - SHARE_TOLERANCE))
    attention_low, attention_high = problem.attention_range(d_model)
    inner_low, inner_high = problem.inner_range(d_model)
    return Shapes(
        d_model=d_model,
        n_layers=n_layers,
        total_low=total_low * (1 - _SLACK),
        total_high=total_high * (1 + _SLACK),
        attention_low=attention_low,
        attention_high=attention_high,
        inner_low=inner_low,
        inner_high=inner_high,
        rank_low=rank_low,
        rank_high=rank_high,
    )


def totals(problem: Problem, shapes: Shapes) -> tuple[Integers, Integers]:
    """The fewest and the most parameters of each pair of width and depth, within its bounds."""
    pair = (shapes.d_model, shapes.n_layers)
    least, most = (
        problem.rest(*pair, rank)
        + problem.attention(*pair, attention)
        + problem.feed_forward(*pair, inner)
        for rank, attention, inner in (
            (shapes.rank_low, shapes.attention_low, shapes.inner_low),
            (shapes.rank_high, shapes.attention_high, shapes.inner_high),
        )
    )
    return least, most


def narrowed(problem: Problem, shapes: Shapes) -> Shapes:
    """The pairs that may have a solution, with attention's bounds narrowed by their totals."""
    shapes = shapes.where(~shapes.empty)
    least, most = totals(problem, shapes)
    shapes = shapes.where((least <= shapes.total_high) & (most >= shapes.total_low))
    if not len(shapes.d_model):
        return shapes
    pair = (shapes.d_model, shapes.n_layers)
    room_low = shapes.total_low - problem.rest(*pair, shapes.rank_high)
    room_high = shapes.total_high - problem.rest(*pair, shapes.rank_low)
    inner_least = problem.feed_forward(*pair, shapes.inner_low)
    inner_most = problem.feed_forward(*pair, shapes.inner_high)
    attention_range = (shapes.attention_low, shapes.attention_high)
    attention_low = _first(
        lambda step: problem.attention(*pair, step) + inner_most >= room_low, *attention_range
    )
    attention_high = _first(
        lambda step: problem.attention(*pair, step) + inner_least > room_high, *attention_range
    )
    narrowed = Shapes(
        **{
            **vars(shapes),
            "attention_low": attention_low,
            "attention_high": attention_high - 1,
        }
    )
    return narrowed.where(~narrowed.empty)
