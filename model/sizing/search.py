"""The sizes that meet a budget: which are looked at, and which is taken.

d is the width, L the depth, A the attention's width (heads × head size), f the feed-forward's inner
width. The counts come from `model.parts`.

The domain
----------
d ≥ 8; 2 ≤ L ≤ 32; head size ≥ 2 and even (rotary positions turn pairs); d/4 ≤ A ≤ 4·d; f ≥ 1, and
where neither f nor the expansion is asked for d/4 ≤ f ≤ 16·d. A solution has a total within ± 0.5 %
of the target, and what is asked for: an embedding share within ± 0.01 of `embedding_ratio`, f/d
within ± 2 % of `glu_expansion`, and every pinned size as it is. Free heads are given by the width,
d/64 rounded and at least one; or, where the head size is pinned, by the search as A is.

The rule
--------
Of all solutions in the domain the one of least cost is taken, where the cost is the sum of

    1   × |ln(A / d)|          attention as wide as the model, so that cells differ in what they
                               are meant to differ in
    0.1 × |ln(L / 12)|         depth near a reference; weak, because width, expansion and budget
                               leave little choice of depth once A is near d
    0.1 × |ln(f/d / 2.66)|     where neither f nor the expansion is asked for: it too near a
                               reference
    0.1 × log2(8 / m)          m: the largest of 8, 4, 2, 1 that divides d, f and the head size;
                               odd sizes slow matrix products, and the hardware is to pick no winner
    0.1 × misfit               the mean of the deviations of the total and of the ratios asked for,
                               each over its tolerance

Ties go to the smaller d, then L, then heads, then head size, then f.

Where width and depth are both pinned, shape must not decide between cells that share them: one size
absorbs the budget, and the others are settled before it, by what does not depend on the budget or
on the variants. f absorbs where neither it nor the expansion is asked for; then A is settled, by
|ln(A / d)| and the alignment of d and the head size. Otherwise A absorbs; then f is settled, by its
deviation from the expansion and the alignment of d and f. The cost above decides among what is
left. A settled size moves only where no value of the other meets the budget.

The search is exhaustive: it leaves out only what a lower bound of the cost rules out. For the
bounds it relies on counts that do not decrease with a size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.parts import Amount, Parts
from model.spec import ModelConfig, ModelSpec

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
"""Between these lies an expansion that nobody asks for."""

REFERENCE_DEPTH = 12
REFERENCE_EXPANSION = 2.66
REFERENCE_HEAD_DIM = 64
DEPTH_WEIGHT = 0.1
EXPANSION_WEIGHT = 0.1
ALIGNMENT_WEIGHT = 0.1
MISFIT_WEIGHT = 0.1
ALIGNMENTS = (8, 4, 2, 1)
"""Multiples that matrix products like, best first."""

_SLACK = 1e-9
"""Of bounds in floating point, relative; whole sizes are held against the tolerances themselves."""

_FEW_WIDTHS = 100
"""So few are all looked at, which costs less than to leave out the widest."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Sizes to count parameters of: numbers or arrays that broadcast. See `model.parts.Sizes`."""

    vocab_size: int
    context: int
    d_model: Amount
    n_layers: Amount
    n_heads: Amount = 1
    head_dim: Amount = 1
    d_ff: Amount = 1

    @property
    def d_attention(self) -> Amount:
        return self.n_heads * self.head_dim


class _Solution(NamedTuple):
    """Compared as a tuple: what is settled first, then the least cost, ties by the sizes."""

    settled: float
    cost: float
    d_model: int
    n_layers: int
    n_heads: int
    head_dim: int
    d_ff: int


_NONE = _Solution(math.inf, math.inf, 0, 0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Pairs of width and depth, with the bounds of what goes into them, all [pairs].

    Those of totals are a little loose: outside them nothing solves, inside something may.
    """

    d_model: Integers
    n_layers: Integers
    total_low: Floats
    total_high: Floats
    attention_low: Integers
    """In steps of `Problem.attention`: those in the domain, then those that the totals leave."""
    attention_high: Integers
    inner_low: Integers
    inner_high: Integers

    @property
    def empty(self) -> Booleans:
        """Whether the bounds leave nothing between them."""
        return (self.attention_low > self.attention_high) | (self.inner_low > self.inner_high)

    def where(self, kept: Booleans) -> Shapes:
        """Some of the pairs."""
        return Shapes(**{name: values[kept] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Problem:
    """A spec, and the counts of its parts over candidates."""

    spec: ModelSpec
    parts: Parts

    @classmethod
    def of(cls, spec: ModelSpec) -> Problem:
        return cls(spec, Parts.of(spec))

    @property
    def absorbs(self) -> str | None:
        """The size that absorbs the budget where width and depth are both pinned, else None."""
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
        )

    def heads(self, d_model: Amount, step: Amount, multiple: int = 2) -> tuple[Amount, Amount]:
        """(heads, head size) of a step of attention's width: 1, 2, … times the least of its kind.

        A step is one more of whatever is free: a head of the pinned size, or `multiple` for the
        size of each head.
        """
        n_heads, head_dim = self.spec.n_heads, self.spec.head_dim
        if n_heads is None and head_dim is not None:
            return step, head_dim
        if n_heads is None:
            n_heads = np.maximum((d_model + REFERENCE_HEAD_DIM // 2) // REFERENCE_HEAD_DIM, 1)
        return n_heads, multiple * step if head_dim is None else head_dim * step

    def attention(self, d_model: Amount, n_layers: Amount, step: Amount) -> Amount:
        """Parameters of attention at a step of its width."""
        n_heads, head_dim = self.heads(d_model, step)
        return self.parts.attention.parameters(
            Candidates(
                **{**vars(self.sizes(d_model, n_layers)), "n_heads": n_heads, "head_dim": head_dim}
            )
        )

    def feed_forward(self, d_model: Amount, n_layers: Amount, d_ff: Amount) -> Amount:
        """Parameters of the feed-forward at an inner width."""
        return self.parts.feed_forward.parameters(
            Candidates(**{**vars(self.sizes(d_model, n_layers)), "d_ff": d_ff})
        )

    def embedding(self, d_model: Amount) -> Amount:
        """Parameters of embedding and head."""
        return self.parts.embedding.parameters(self.sizes(d_model, 1))

    def rest(self, d_model: Amount, n_layers: Amount) -> Amount:
        """Parameters of what has no size of its own: embedding, head and norms."""
        norms = self.parts.norm.parameters(self.sizes(d_model, n_layers))
        return self.embedding(d_model) + norms

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
        """The fewest parameters of a model of some width and depth, attention's aside.

        In floating point, where the widest of all do not overflow; it grows with the width, as
        attention's least need not, whose heads come in whole numbers.
        """
        width = d_model.astype(np.float64)
        inner = self.inner_range(d_model)[0].astype(np.float64)
        total: Floats = self.rest(width, n_layers) + self.feed_forward(width, n_layers, inner)
        return total


def allowed_widths(spec: ModelSpec) -> tuple[float, float]:
    """The least and the greatest width, as real numbers, that target and share allow.

    Without a share the greatest is what the whole target would buy.
    """
    parameters_per_share = spec.target_parameters / int(Problem.of(spec).embedding(1))
    if spec.embedding_ratio is None:
        return 0.0, (1 + TOTAL_TOLERANCE) * parameters_per_share
    least = (spec.embedding_ratio - SHARE_TOLERANCE) * (1 - TOTAL_TOLERANCE)
    most = (spec.embedding_ratio + SHARE_TOLERANCE) * (1 + TOTAL_TOLERANCE)
    return max(least, 0.0) * parameters_per_share, most * parameters_per_share


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
    """The least number from `low` to `high` at which a condition holds that then stays so.

    All elementwise; high + 1 where it holds nowhere.
    """
    low, high = low.copy(), high + 1
    while (apart := low < high).any():
        middle = (low + high) // 2
        held = holds(middle)
        high = np.where(apart & held, middle, high)
        low = np.where(apart & ~held, middle + 1, low)
    return low


def allowed_shapes(spec: ModelSpec) -> Shapes:
    """Every pair of width and depth in the domain, with the domain's bounds of what goes in."""
    problem = Problem.of(spec)
    widths, depths = _widths(problem), _depths(spec)
    d_model, n_layers = np.repeat(widths, len(depths)), np.tile(depths, len(widths))
    embedding = problem.embedding(d_model).astype(np.float64)
    total_low = np.full(len(d_model), spec.target_parameters * (1 - TOTAL_TOLERANCE))
    total_high = np.full(len(d_model), spec.target_parameters * (1 + TOTAL_TOLERANCE))
    if spec.embedding_ratio is not None:
        total_low = np.maximum(total_low, embedding / (spec.embedding_ratio + SHARE_TOLERANCE))
        if spec.embedding_ratio > SHARE_TOLERANCE:
            total_high = np.minimum(
                total_high, embedding / (spec.embedding_ratio - SHARE_TOLERANCE)
            )
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
    )


def totals(problem: Problem, shapes: Shapes) -> tuple[Integers, Integers]:
    """The fewest and the most parameters of each pair of width and depth, within its bounds."""
    pair = (shapes.d_model, shapes.n_layers)
    rest = problem.rest(*pair)
    least, most = (
        rest + problem.attention(*pair, attention) + problem.feed_forward(*pair, inner)
        for attention, inner in (
            (shapes.attention_low, shapes.inner_low),
            (shapes.attention_high, shapes.inner_high),
        )
    )
    return least, most


def _narrowed(problem: Problem, shapes: Shapes) -> Shapes:
    """The pairs at which something may solve, with the bounds that their totals leave."""
    shapes = shapes.where(~shapes.empty)
    least, most = totals(problem, shapes)
    shapes = shapes.where((least <= shapes.total_high) & (most >= shapes.total_low))
    if not len(shapes.d_model):
        return shapes
    pair = (shapes.d_model, shapes.n_layers)
    rest = problem.rest(*pair)
    room_low, room_high = shapes.total_low - rest, shapes.total_high - rest
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


def search(spec: ModelSpec) -> ModelConfig | None:
    """The solution that the rule takes: pairs of width and depth in the order of lower bounds."""
    problem = Problem.of(spec)
    shapes = _narrowed(problem, allowed_shapes(spec))
    if not len(shapes.d_model):
        return None
    # Where one size absorbs the budget there is one pair, and the cost does not order it alone.
    alignments = ALIGNMENTS if problem.absorbs is None else ALIGNMENTS[-1:]
    bounds = _least_costs(problem, shapes, alignments)
    best = _NONE
    for place in np.argsort(bounds, axis=None, kind="stable"):
        alignment, pair = np.unravel_index(place, bounds.shape)
        bound = bounds[alignment, pair]
        if bound == math.inf or bound > best.cost:
            break
        best = min(best, _best_of_pair(problem, shapes, int(pair), alignments[alignment]))
    if best == _NONE:
        return None
    return ModelConfig(
        vocab_size=spec.vocab_size,
        context=spec.context,
        d_model=best.d_model,
        n_layers=best.n_layers,
        n_heads=best.n_heads,
        head_dim=best.head_dim,
        d_ff=best.d_ff,
        embedding=spec.embedding,
        attention=spec.attention,
        feed_forward=spec.feed_forward,
        norm=spec.norm,
    )


def _least_costs(problem: Problem, shapes: Shapes, alignments: tuple[int, ...]) -> Floats:
    """What no solution of a pair costs less than, misfit aside, [alignments, pairs]."""
    d_model = shapes.d_model
    least, most = (
        np.multiply(*problem.heads(d_model, step))
        for step in (shapes.attention_low, shapes.attention_high)
    )
    cost = _shape_cost(np.clip(d_model, least, most) / d_model, shapes.n_layers)
    costs: Floats = np.stack([cost + _alignment_cost(m) for m in alignments])
    costs[d_model % np.array(alignments)[:, None] != 0] = np.inf
    return costs


def _shape_cost(attention_ratio: Floats, n_layers: Integers | int) -> Floats:
    depth_cost: Floats = np.abs(np.log(np.asarray(n_layers) / REFERENCE_DEPTH))
    return np.abs(np.log(attention_ratio)) + DEPTH_WEIGHT * depth_cost


def _alignment_cost(multiple: Integers | int) -> Floats:
    halvings: Floats = np.log2(ALIGNMENTS[0] / np.asarray(multiple))
    return ALIGNMENT_WEIGHT * halvings


def _best_of_pair(problem: Problem, shapes: Shapes, pair: int, multiple: int) -> _Solution:
    """The best heads and inner width for one width and depth, in multiples of `multiple`."""
    spec = problem.spec
    d_model, n_layers = int(shapes.d_model[pair]), int(shapes.n_layers[pair])
    n_heads, head_dim = _head_candidates(problem, shapes, pair, multiple)
    if not len(head_dim):
        return _NONE
    sizes = problem.sizes(d_model, n_layers)
    attention = problem.parts.attention.parameters(
        Candidates(**{**vars(sizes), "n_heads": n_heads, "head_dim": head_dim})
    )
    # For each attention the inner widths that its total leaves.
    besides = problem.rest(d_model, n_layers) + attention
    d_ff = _multiples(multiple, shapes.inner_low[pair], shapes.inner_high[pair])
    inner = problem.feed_forward(d_model, n_layers, d_ff)
    first = np.searchsorted(inner, shapes.total_low[pair] - besides, side="left")
    beyond = np.searchsorted(inner, shapes.total_high[pair] - besides, side="right")
    numbers = np.maximum(beyond - first, 0)
    row = np.repeat(np.arange(len(head_dim)), numbers)
    within = np.arange(len(row)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    column = first[row] + within
    candidates = Candidates(
        **{
            **vars(sizes),
            "n_heads": n_heads[row],
            "head_dim": head_dim[row],
            "d_ff": d_ff[column],
        }
    )
    total = besides[row] + inner[column]
    allowed, misfit = _deviations(spec, problem.embedding(d_model), total, candidates)
    settled, cost = _costs(problem, candidates, misfit)
    settled, cost = np.where(allowed, settled, np.inf), np.where(allowed, cost, np.inf)
    if not allowed.any():
        return _NONE
    place = int(np.lexsort((cost, settled))[0])
    return _Solution(
        float(settled[place]),
        float(cost[place]),
        d_model,
        n_layers,
        int(candidates.n_heads[place]),
        int(candidates.head_dim[place]),
        int(candidates.d_ff[place]),
    )


def _head_candidates(
    problem: Problem, shapes: Shapes, pair: int, multiple: int
) -> tuple[Integers, Integers]:
    """(heads, head size) within a pair's bounds whose head size is a multiple of `multiple`."""
    d_model = shapes.d_model[pair]
    least, most = (
        math.prod(problem.heads(d_model, step[pair]))
        for step in (shapes.attention_low, shapes.attention_high)
    )
    unit = math.prod(problem.heads(d_model, 1, max(multiple, 2)))
    steps = _multiples(unit, least, most) // unit
    n_heads, head_dim = problem.heads(d_model, steps, max(multiple, 2))
    n_heads, head_dim = n_heads * np.ones_like(steps), head_dim * np.ones_like(steps)
    kept = head_dim % multiple == 0
    return n_heads[kept], head_dim[kept]


def _multiples(of: int, low: int, high: int) -> Integers:
    """The multiples of a number from `low` to `high`."""
    return np.arange(-(-low // of), high // of + 1) * of


def _deviations(
    spec: ModelSpec, embedding: Amount, total: Integers, sizes: Candidates
) -> tuple[Booleans, Floats]:
    """Whether candidates meet all tolerances, and how far they are from what is asked for."""
    errors = [(np.abs(total - spec.target_parameters), TOTAL_TOLERANCE * spec.target_parameters)]
    if spec.embedding_ratio is not None:
        errors.append((np.abs(embedding / total - spec.embedding_ratio), SHARE_TOLERANCE))
    if spec.glu_expansion is not None:
        ratio = sizes.d_ff / sizes.d_model / spec.glu_expansion
        errors.append((np.abs(ratio - 1), EXPANSION_TOLERANCE))
    allowed = np.logical_and.reduce([error <= tolerance for error, tolerance in errors])
    misfit = sum(error / tolerance for error, tolerance in errors) / len(errors)
    return allowed, np.asarray(misfit, dtype=np.float64)


def _costs(problem: Problem, sizes: Candidates, misfit: Floats) -> tuple[Floats, Floats]:
    """What is settled first, and the cost: see the rule."""
    spec, d_model = problem.spec, sizes.d_model
    aligned_width = math.gcd(d_model, ALIGNMENTS[0])
    attention_ratio = sizes.d_attention / d_model
    divisor = np.gcd(np.gcd(sizes.head_dim, sizes.d_ff), aligned_width)
    cost = (
        _shape_cost(attention_ratio, sizes.n_layers)
        + _alignment_cost(divisor)
        + MISFIT_WEIGHT * misfit
    )
    expansion = sizes.d_ff / d_model
    if spec.d_ff is None and spec.glu_expansion is None:
        cost = cost + EXPANSION_WEIGHT * np.abs(np.log(expansion / REFERENCE_EXPANSION))
    if problem.absorbs is None:
        return np.zeros_like(cost), cost
    if problem.absorbs == problem.parts.feed_forward.free:
        settled = np.abs(np.log(attention_ratio))
        settled = settled + _alignment_cost(np.gcd(sizes.head_dim, aligned_width))
    else:
        settled = _alignment_cost(np.gcd(sizes.d_ff, aligned_width))
        if spec.glu_expansion is not None:
            error = np.abs(expansion / spec.glu_expansion - 1)
            settled = settled + MISFIT_WEIGHT * error / EXPANSION_TOLERANCE
    return settled, cost
