"""Picks one of the sizes that meet a budget.

d is the width, L the depth, A the attention's width (heads × head size), f the feed-forward's inner
width. `model.sizing.domain` says which sizes are considered, and what meets a budget.

The rule
--------
Of all solutions in the domain the one of least cost is taken. The cost is the sum of

    1   × |ln(A / d)|          attention as wide as the model, so that cells differ only in what
                               they are meant to differ in
    0.1 × |ln(L / 12)|         depth near a reference; weak, because width, expansion and budget
                               leave little choice of depth once A is near d
    0.1 × |ln(f/d / 2.66)|     if neither f nor the expansion is set: expansion near a reference
    0.1 × log2(8 / m)          m: the largest of 8, 4, 2, 1 that divides d, f and the head size;
                               odd sizes slow matrix products, and hardware must not pick the winner
    0.1 × misfit               the mean deviation of the total and of the ratios that are set, each
                               over its tolerance

Ties go to the smaller d, then L, then heads, then head size, then f.

If width and depth are both pinned, shape must not decide between cells that share them: one size
absorbs the budget, and the other is settled first, by criteria that depend neither on the budget
nor on the variants. If neither f nor the expansion is set, f absorbs and A is settled, by
|ln(A / d)| and the alignment of d and the head size. Otherwise A absorbs and f is settled, by its
deviation from the expansion and the alignment of d and f. The cost above decides among what is
left. A settled size moves only if no value of the other meets the budget.

The search is exhaustive: it skips only what a lower bound of the cost rules out. The bounds rely on
counts that never decrease as a size grows (`model.parts`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from model.parts import Amount
from model.sizing.domain import (
    EXPANSION_TOLERANCE,
    SHARE_TOLERANCE,
    TOTAL_TOLERANCE,
    Booleans,
    Candidates,
    Floats,
    Integers,
    Problem,
    Shapes,
    allowed_shapes,
    narrowed,
)
from model.spec import ModelConfig, ModelSpec

REFERENCE_DEPTH = 12
REFERENCE_EXPANSION = 2.66
DEPTH_WEIGHT = 0.1
EXPANSION_WEIGHT = 0.1
ALIGNMENT_WEIGHT = 0.1
MISFIT_WEIGHT = 0.1
ALIGNMENTS = (8, 4, 2, 1)
"""Multiples that make matrix products fast, best first."""


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


def search(spec: ModelSpec) -> ModelConfig | None:
    """The solution that the rule picks, or None. Pairs are visited by their lower bounds."""
    problem = Problem.of(spec)
    shapes = narrowed(problem, allowed_shapes(spec))
    if not len(shapes.d_model):
        return None
    # If one size absorbs the budget there is one pair, and its solutions are not ordered by cost.
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
    """Lower bounds of the cost of each pair's solutions, without misfit: [alignments, pairs]."""
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
    # For each attention width, the values of d_ff that the total leaves.
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
    """Whether candidates meet all tolerances, and their misfit."""
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
    """(settled, cost) of candidates, see the rule."""
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
