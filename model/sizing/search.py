"""Picks one of the sizes that meet a budget.

d is the width, L the depth, A the attention's width (heads × head size), f the feed-forward's inner
width. `model.sizing.domain` says which sizes are considered, and what meets a budget.

The rule
--------
Of all solutions in the domain the one of least cost is taken. The cost is the sum of

    1   × |ln(A / d)|          attention as wide as the model, so that cells differ only in what
                               they are meant to differ in
    1   × u(d)                 sizes that matrix products like, because hardware must not pick the
    0.5 × u(A), 0.5 × u(f)     winner: u is 0 for a multiple of 16, 0.1 for one of 8, 0.3 for one
    0.5 × u(2 × head size)     of 4, 0.4 for an even size, 0.5 for an odd one
    0.5 × u(rank)              of an embedding that has one
    0.3 × |ln(L / 12)|         depth near a reference: decides only where the width is free, because
                               share, expansion and budget leave little choice once A is near d
    0.3 × |ln(f/d / 2.66)|     if neither f nor the expansion is set: expansion near a reference
    0.1 × misfit               the mean deviation of the total and of the ratios that are set, each
                               over its tolerance

So the order of preferences is: pins and tolerances hold in any case; then attention's width and an
aligned width, where a multiple of 16 rather than 8 is worth 10 % of attention's width, and 8 rather
than 4 is worth 20 %; then attention, inner width and heads that are aligned, for half as much; then
depth, expansion and the middle of the tolerances. The width counts most because every matrix has
it. The step at 8 is the largest: below it, rows in bf16 do not begin at multiples of the 16 bytes
that tensor cores load at once (NVIDIA, "Matrix Multiplication Background User's Guide", section
"Requirements to Use Tensor Cores"). A head needs only 8, to which fused attention pads it. The
weights are a choice; how far they move a score is measured in docs/shapes.md.

Ties go to the smaller d, then L, then heads, then head size, then rank, then f.

If width and depth are both pinned, shape must not decide between cells that share them: one size
absorbs the budget, and the other is settled first, by criteria that depend neither on the budget
nor on the variants. If neither f nor the expansion is set, f absorbs and A is settled, by
|ln(A / d)| and the alignment of A and the head size. Otherwise A absorbs and f is settled, by its
deviation from the expansion and its alignment. A free rank is settled with it, by its alignment and
by how far its parameters are from the share of the target. The cost above decides among what is
left. A settled size moves only if no value of the other meets the budget.

The search is exhaustive: it skips only what a lower bound of the cost rules out. The bounds rely on
counts that never decrease as a size grows (`model.parts.part`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from model.experts import EXPERT_SETTINGS
from model.parts.part import Amount
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
DEPTH_WEIGHT = 0.3
EXPANSION_WEIGHT = 0.3
MISFIT_WEIGHT = 0.1
MISALIGNED = {16: 0.0, 8: 0.1, 4: 0.3, 2: 0.4, 1: 0.5}
"""The cost of a size by the largest of these numbers that divides it."""
ALIGNMENT = max(MISALIGNED)
OTHERS_WEIGHT = 0.5
"""Of the alignment of sizes other than the width."""
HEAD_ALIGNMENT = 8


class _Solution(NamedTuple):
    """Compared as a tuple: what is settled first, then the least cost, ties by the sizes."""

    settled: float
    cost: float
    d_model: int
    n_layers: int
    n_heads: int
    head_dim: int
    embedding_rank: int
    d_ff: int


_NONE = _Solution(math.inf, math.inf, 0, 0, 0, 0, 0, 0)


def search(spec: ModelSpec) -> ModelConfig | None:
    """The solution that the rule picks, or None. Pairs are visited by their lower bounds."""
    problem = Problem.of(spec)
    shapes = narrowed(problem, allowed_shapes(spec))
    if not len(shapes.d_model):
        return None
    bounds = _least_costs(problem, shapes)
    best = _NONE
    for pair in np.argsort(bounds, kind="stable"):
        if bounds[pair] > best.cost:
            break
        best = min(best, _best_of_pair(problem, shapes, int(pair)))
    return None if best == _NONE else _config(spec, best)


def alternatives(spec: ModelSpec) -> dict[ModelConfig, float]:
    """The solution of least cost at each depth, and its cost; the shallowest first.

    If the depth is pinned, at each width, the narrowest first. What `search` picks is among them.
    """
    problem = Problem.of(spec)
    shapes = narrowed(problem, allowed_shapes(spec))
    apart = shapes.n_layers if spec.n_layers is None else shapes.d_model
    bounds = _least_costs(problem, shapes)
    best = {int(at): _NONE for at in sorted(set(apart))}
    for pair in np.argsort(bounds, kind="stable"):
        at = int(apart[pair])
        if bounds[pair] <= best[at].cost:
            best[at] = min(best[at], _best_of_pair(problem, shapes, int(pair)))
    return {_config(spec, found): found.cost for found in best.values() if found != _NONE}


def _config(spec: ModelSpec, sizes: _Solution) -> ModelConfig:
    return ModelConfig(
        vocab_size=spec.vocab_size,
        context=spec.context,
        d_model=sizes.d_model,
        n_layers=sizes.n_layers,
        n_heads=sizes.n_heads,
        head_dim=sizes.head_dim,
        d_ff=sizes.d_ff,
        embedding=spec.embedding,
        attention=spec.attention,
        feed_forward=spec.feed_forward,
        norm=spec.norm,
        embedding_rank=sizes.embedding_rank or None,
        n_kv_heads=spec.kv_heads(sizes.n_heads),
        rotary_base=spec.rotary_base,
        document_masking=spec.document_masking,
        dropout=spec.dropout,
        **{name: getattr(spec, name) for name in EXPERT_SETTINGS},
    )


def _least_costs(problem: Problem, shapes: Shapes) -> Floats:
    """Lower bounds of the cost of each pair's solutions: without misfit, and as if all sizes but
    the width were aligned."""
    d_model = shapes.d_model
    least, most = (
        np.multiply(*problem.heads(d_model, step))
        for step in (shapes.attention_low, shapes.attention_high)
    )
    ratio = np.clip(d_model, least, most) / d_model
    costs: Floats = _shape_cost(ratio, shapes.n_layers) + _misalignment(d_model)
    return costs


def _shape_cost(attention_ratio: Floats, n_layers: Integers | int) -> Floats:
    depth_cost: Floats = np.abs(np.log(np.asarray(n_layers) / REFERENCE_DEPTH))
    return np.abs(np.log(attention_ratio)) + DEPTH_WEIGHT * depth_cost


def _misalignment(sizes: Amount) -> Floats:
    """u of the rule."""
    divisors = np.gcd(sizes, ALIGNMENT)
    misaligned: Floats = np.select(
        [divisors == multiple for multiple in MISALIGNED], list(MISALIGNED.values())
    )
    return misaligned


def _best_of_pair(problem: Problem, shapes: Shapes, pair: int) -> _Solution:
    """The best heads and inner width for one width and depth."""
    spec = problem.spec
    d_model, n_layers = int(shapes.d_model[pair]), int(shapes.n_layers[pair])
    steps, ranks = (
        grid.ravel()
        for grid in np.meshgrid(
            np.arange(shapes.attention_low[pair], shapes.attention_high[pair] + 1),
            np.arange(shapes.rank_low[pair], shapes.rank_high[pair] + 1),
            indexing="ij",
        )
    )
    n_heads, head_dim = (size * np.ones_like(steps) for size in problem.heads(d_model, steps))
    sizes = problem.sizes(d_model, n_layers)
    attention = problem.attention(d_model, n_layers, steps)
    # For each attention width and rank, the values of d_ff that the total leaves.
    besides = problem.rest(d_model, n_layers, ranks) + attention
    d_ff = np.arange(shapes.inner_low[pair], shapes.inner_high[pair] + 1)
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
            "embedding_rank": ranks[row],
            "d_ff": d_ff[column],
        }
    )
    total = besides[row] + inner[column]
    embedding = problem.embedding(d_model, candidates.embedding_rank)
    allowed, misfit = _deviations(spec, embedding, total, candidates)
    settled, cost = _costs(problem, candidates, embedding, misfit)
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
        int(candidates.embedding_rank[place]),
        int(candidates.d_ff[place]),
    )


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


def _costs(
    problem: Problem, sizes: Candidates, embedding: Amount, misfit: Floats
) -> tuple[Floats, Floats]:
    """(settled, cost) of candidates, see the rule."""
    spec, d_model = problem.spec, sizes.d_model
    attention_ratio = sizes.d_attention / d_model
    expansion = sizes.d_ff / d_model
    attention_misaligned = OTHERS_WEIGHT * (
        _misalignment(sizes.d_attention)
        + _misalignment(sizes.head_dim * (ALIGNMENT // HEAD_ALIGNMENT))
    )
    inner_misaligned = OTHERS_WEIGHT * _misalignment(sizes.d_ff)
    rank_misaligned = OTHERS_WEIGHT * _misalignment(sizes.embedding_rank)  # 0 for the rank 0
    cost = (
        _shape_cost(attention_ratio, sizes.n_layers)
        + _misalignment(d_model)
        + attention_misaligned
        + inner_misaligned
        + rank_misaligned
        + MISFIT_WEIGHT * misfit
    )
    if spec.d_ff is None and spec.glu_expansion is None:
        cost = cost + EXPANSION_WEIGHT * np.abs(np.log(expansion / REFERENCE_EXPANSION))
    if problem.absorbs is None:
        return np.zeros_like(cost), cost
    rank_settled = rank_misaligned
    if problem.has_rank and spec.embedding_ratio is not None:
        error = np.abs(embedding / spec.target_parameters - spec.embedding_ratio)
        rank_settled = rank_settled + MISFIT_WEIGHT * error / SHARE_TOLERANCE
    if problem.absorbs == problem.parts.feed_forward.free:
        return np.abs(np.log(attention_ratio)) + attention_misaligned + rank_settled, cost
    settled = inner_misaligned + rank_settled
    if spec.glu_expansion is not None:
        error = np.abs(expansion / spec.glu_expansion - 1)
        settled = settled + MISFIT_WEIGHT * error / EXPANSION_TOLERANCE
    return settled, cost
