"""The sizes that meet a budget: which are looked at, and which is taken.

The domain
----------
d ≥ 8; 2 ≤ L ≤ 32; head size ≥ 2 and even (rotary positions turn pairs); d/4 ≤ A ≤ 4·d; f ≥ 1.
A solution has a total within ± 0.5 % of the target, an embedding share within ± 0.01 of
`embedding_ratio` and f/d within ± 2 % of `glu_expansion`.

The rule
--------
Of all solutions in the domain the one of least cost is taken, where the cost is the sum of

    1   × |ln(A / d)|          attention as wide as the model, so that cells differ in what they
                               are meant to differ in
    0.1 × |ln(L / 12)|         depth near a reference; weak, because width, expansion and budget
                               leave little choice of depth once A is near d
    0.1 × log2(8 / m)          m: the largest of 8, 4, 2, 1 that divides d, f and the head size;
                               odd sizes slow matrix products, and the hardware is to pick no winner
    0.1 × misfit               the mean of the three deviations, each over its tolerance

Ties go to the smaller d, then L, then head size, then f. The search is exhaustive: it leaves out
only what a lower bound of the cost rules out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.spec import (
    ATTENTION_MATRICES,
    EMBEDDING_MATRICES,
    FEED_FORWARD_MATRICES,
    ModelConfig,
    ModelSpec,
)

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

REFERENCE_DEPTH = 12
DEPTH_WEIGHT = 0.1
ALIGNMENT_WEIGHT = 0.1
MISFIT_WEIGHT = 0.1
ALIGNMENTS = (8, 4, 2, 1)
"""Multiples that matrix products like, best first."""

_SLACK = 1e-6
"""Of bounds in floating point; whole sizes are held against the tolerances themselves."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class _Solution(NamedTuple):
    """Compared as a tuple: the least cost first, ties by the sizes."""

    cost: float
    d_model: int
    n_layers: int
    head_dim: int
    d_ff: int


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Pairs of width and depth, with the bounds of the other sizes, all [pairs].

    Those of the attention width hold for real numbers and are a little loose: outside them nothing
    solves, inside them something may.
    """

    d_model: Floats
    n_layers: Floats
    attention_low: Floats
    attention_high: Floats
    inner_low: Floats
    inner_high: Floats

    def possible(self) -> Shapes:
        """The pairs whose bounds leave anything between them."""
        kept = (self.attention_low <= self.attention_high) & (self.inner_low <= self.inner_high)
        return Shapes(**{name: values[kept] for name, values in vars(self).items()})

    def least_cost(self) -> Floats:
        """No solution of a pair costs less, alignment aside."""
        nearest = np.clip(self.d_model, self.attention_low, self.attention_high)
        return _shape_cost(nearest / self.d_model, self.n_layers)


def _shape_cost(attention_ratio: Floats, n_layers: Floats | float) -> Floats:
    depth_cost: Floats = np.abs(np.log(np.asarray(n_layers) / REFERENCE_DEPTH))
    return np.abs(np.log(attention_ratio)) + DEPTH_WEIGHT * depth_cost


def _alignment_cost(multiple: Integers | int) -> Floats:
    halvings: Floats = np.log2(ALIGNMENTS[0] / np.asarray(multiple))
    return ALIGNMENT_WEIGHT * halvings


def _embedding_column(spec: ModelSpec) -> int:
    """Embedding parameters for each unit of width."""
    return EMBEDDING_MATRICES[spec.embedding] * spec.vocab_size


def allowed_widths(spec: ModelSpec) -> tuple[float, float]:
    """The least and the greatest width, as real numbers, that target and share allow."""
    least = (spec.embedding_ratio - SHARE_TOLERANCE) * (1 - TOTAL_TOLERANCE)
    most = (spec.embedding_ratio + SHARE_TOLERANCE) * (1 + TOTAL_TOLERANCE)
    parameters_per_share = spec.target_parameters / _embedding_column(spec)
    return max(least, 0.0) * parameters_per_share, most * parameters_per_share


def _widest(spec: ModelSpec) -> float:
    """The width at which the fewest and smallest layers alone use up the target."""
    attention = ATTENTION_MATRICES[spec.attention] / MAX_ATTENTION_RATIO
    feed_forward = FEED_FORWARD_MATRICES[spec.feed_forward] * spec.glu_expansion
    layer = attention + feed_forward * (1 - EXPANSION_TOLERANCE)
    return math.sqrt(spec.target_parameters * (1 + TOTAL_TOLERANCE) / (MIN_DEPTH * layer))


def allowed_shapes(spec: ModelSpec) -> Shapes:
    """Every pair of width and depth that could have a solution, some that cannot among them."""
    low, high = allowed_widths(spec)
    first, last = max(math.floor(low), MIN_WIDTH), math.ceil(min(high, _widest(spec)))
    widths, depths = np.arange(first, last + 1), np.arange(MIN_DEPTH, MAX_DEPTH + 1)
    d_model = np.repeat(widths, len(depths)).astype(np.float64)
    n_layers = np.tile(depths, len(widths)).astype(np.float64)

    embedding = _embedding_column(spec) * d_model
    total_low = np.maximum(
        spec.target_parameters * (1 - TOTAL_TOLERANCE),
        embedding / (spec.embedding_ratio + SHARE_TOLERANCE),
    )
    total_high = np.full_like(d_model, spec.target_parameters * (1 + TOTAL_TOLERANCE))
    if spec.embedding_ratio > SHARE_TOLERANCE:
        total_high = np.minimum(total_high, embedding / (spec.embedding_ratio - SHARE_TOLERANCE))

    inner = d_model * spec.glu_expansion
    inner_low = np.maximum(np.ceil(inner * (1 - EXPANSION_TOLERANCE) - _SLACK), 1)
    inner_high = np.floor(inner * (1 + EXPANSION_TOLERANCE) + _SLACK)
    # One layer is width · (2 + attention matrices · A + feed-forward matrices · f).
    column_low, column_high = (
        (total - embedding - d_model) / n_layers / d_model - 2 for total in (total_low, total_high)
    )
    per_inner = FEED_FORWARD_MATRICES[spec.feed_forward]
    attention_low = (column_low - per_inner * inner_high) / ATTENTION_MATRICES[spec.attention]
    attention_high = (column_high - per_inner * inner_low) / ATTENTION_MATRICES[spec.attention]
    return Shapes(
        d_model=d_model,
        n_layers=n_layers,
        attention_low=np.maximum(attention_low - _SLACK, d_model / MAX_ATTENTION_RATIO),
        attention_high=np.minimum(attention_high + _SLACK, d_model * MAX_ATTENTION_RATIO),
        inner_low=inner_low,
        inner_high=inner_high,
    )


def search(spec: ModelSpec) -> ModelConfig | None:
    """The solution of least cost: pairs of width and depth in the order of their lower bounds."""
    shapes = allowed_shapes(spec).possible()
    least_cost = np.stack([shapes.least_cost() + _alignment_cost(m) for m in ALIGNMENTS])
    least_cost[shapes.d_model % np.array(ALIGNMENTS)[:, None] != 0] = np.inf
    best = _Solution(math.inf, 0, 0, 0, 0)
    for place in np.argsort(least_cost, axis=None, kind="stable"):
        alignment, pair = np.unravel_index(place, least_cost.shape)
        bound = least_cost[alignment, pair]
        if bound == math.inf or bound > best.cost:
            break
        found = _best_of_pair(spec, shapes, int(pair), ALIGNMENTS[alignment])
        if found is not None:
            best = min(best, found)
    if best.cost == math.inf:
        return None
    return ModelConfig(
        vocab_size=spec.vocab_size,
        context=spec.context,
        d_model=best.d_model,
        n_layers=best.n_layers,
        n_heads=spec.n_heads,
        head_dim=best.head_dim,
        d_ff=best.d_ff,
        embedding=spec.embedding,
        attention=spec.attention,
        feed_forward=spec.feed_forward,
    )


def _best_of_pair(spec: ModelSpec, shapes: Shapes, pair: int, multiple: int) -> _Solution | None:
    """The best head size and inner width for one width and depth, in multiples of `multiple`."""
    d_model, n_layers = int(shapes.d_model[pair]), int(shapes.n_layers[pair])
    head_dim = _multiples(
        max(multiple, 2),
        shapes.attention_low[pair] / spec.n_heads,
        shapes.attention_high[pair] / spec.n_heads,
    )[:, None]
    d_ff = _multiples(multiple, shapes.inner_low[pair], shapes.inner_high[pair])[None, :]
    d_attention = spec.n_heads * head_dim

    embedding = _embedding_column(spec) * d_model
    column = (
        2
        + ATTENTION_MATRICES[spec.attention] * d_attention
        + FEED_FORWARD_MATRICES[spec.feed_forward] * d_ff
    )
    total = embedding + n_layers * d_model * column + d_model
    total_error = np.abs(total - spec.target_parameters)
    share_error = np.abs(embedding / total - spec.embedding_ratio)
    expansion_error = np.abs(d_ff / d_model / spec.glu_expansion - 1)
    allowed = (
        (total_error <= TOTAL_TOLERANCE * spec.target_parameters)
        & (share_error <= SHARE_TOLERANCE)
        & (expansion_error <= EXPANSION_TOLERANCE)
    )
    if not allowed.any():
        return None
    misfit = (
        total_error / (TOTAL_TOLERANCE * spec.target_parameters)
        + share_error / SHARE_TOLERANCE
        + expansion_error / EXPANSION_TOLERANCE
    ) / 3
    divisor = np.gcd(np.gcd(head_dim, d_ff), math.gcd(d_model, ALIGNMENTS[0]))
    cost = (
        _shape_cost(d_attention / d_model, n_layers)
        + _alignment_cost(divisor)
        + MISFIT_WEIGHT * misfit
    )
    cost[~allowed] = np.inf
    row, place = np.unravel_index(int(cost.argmin()), cost.shape)
    return _Solution(
        float(cost[row, place]), d_model, n_layers, int(head_dim[row, 0]), int(d_ff[0, place])
    )


def _multiples(of: int, low: float, high: float) -> Integers:
    """The multiples of a number from `low` to `high`, the positive ones."""
    return np.arange(max(math.ceil(low / of), 1), math.floor(high / of) + 1) * of
