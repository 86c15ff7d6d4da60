"""From a budget and two ratios to the sizes of a model, and the count of its parameters.

The count
---------
A model of width d, depth L, attention width A = heads × head size and inner width f, over a
vocabulary of V, has

    embedding and head   V·d            tied; 2·V·d untied, and both count as embedding
    attention            L·4·d·A        q, k and v: d → A; out: A → d; no biases
    feed-forward         L·3·d·f        where it is gated
    norms                L·2·d + d      the gains of two RMSNorms a layer and of a last one

How many matrices a variant has comes from the tables in `model.spec`.

The domain
----------
d ≥ 8; 2 ≤ L ≤ 32; head size even (rotary positions turn pairs) and ≥ 2; d/4 ≤ A ≤ 4·d; f ≥ 1.
A solution has a total within ± 0.5 % of the target, an embedding share within ± 0.01 of
`embedding_ratio` and f/d within ± 2 % of `glu_expansion`.

The rule
--------
Of all solutions in the domain the one of least cost is taken, where the cost is the sum of

    1    × |ln(A / d)|          attention as wide as the model: cells differ in what they vary
    0.1  × |ln(L / 12)|         depth near a reference; weak, because width, expansion and budget
                                leave little choice of depth once A is near d
    0.05 × log2(8 / m)          m: the largest of 8, 4, 2, 1 that divides d, f and the head size;
                                odd sizes slow matrix products, and speed is no part of a verdict
    0.1  × misfit               mean of the three deviations, each over its tolerance

Ties go to the smaller d, then L, then head size, then f. The search is exhaustive: it leaves out
only what a lower bound of the cost rules out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
ALIGNMENT_WEIGHT = 0.05
MISFIT_WEIGHT = 0.1
SLACK = 1e-6
"""Of the bounds in floating point; the exact tolerances are applied to whole sizes."""
ALIGNMENTS = (8, 4, 2, 1)
"""Multiples that matrix products like, best first."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ParameterCount:
    """Trainable parameters by part."""

    embedding: int
    output_head: int
    """0 where the head is the embedding, transposed."""
    attention: int
    feed_forward: int
    norms: int

    @property
    def total(self) -> int:
        return self.embedding + self.output_head + self.attention + self.feed_forward + self.norms

    @property
    def embedding_share(self) -> float:
        """Embedding and head over all parameters."""
        return (self.embedding + self.output_head) / self.total


class InfeasibleBudget(ValueError):
    """No sizes in the domain meet the spec's budget.

    `reason` says why, `nearest` is a spec that solves (None where none was found): the one that
    takes the smallest step away from `spec` in one property, see `nearest_feasible`.
    """

    def __init__(self, spec: ModelSpec, reason: str, remedy: str, nearest: ModelSpec | None):
        self.spec = spec
        self.reason = reason
        self.nearest = nearest
        changes = "" if nearest is None else f"; nearest: {_difference(spec, nearest)}"
        super().__init__(
            f"No width gives {_millions(spec.target_parameters)} ± {TOTAL_TOLERANCE:.1%} with "
            f"vocabulary {spec.vocabulary}, embedding share {spec.embedding_ratio:g} and "
            f"expansion {spec.glu_expansion:g}: {reason}{changes}; {remedy}"
        )


def count_parameters(config: ModelConfig) -> ParameterCount:
    """The closed form: what the built model has, without building it."""
    column = config.vocabulary * config.width
    return ParameterCount(
        embedding=column,
        output_head=column * (EMBEDDING_MATRICES[config.output_head] - 1),
        attention=config.depth
        * ATTENTION_MATRICES[config.attention]
        * config.width
        * config.attention_width,
        feed_forward=config.depth
        * FEED_FORWARD_MATRICES[config.feed_forward]
        * config.width
        * config.inner_width,
        norms=(2 * config.depth + 1) * config.width,
    )


def count_built(config: ModelConfig) -> int:
    """Distinct parameters of the model built on the meta device, which takes no memory."""
    import torch  # noqa: PLC0415  the solver runs where torch is not installed

    from model.transformer import Transformer  # noqa: PLC0415

    with torch.device("meta"):
        model = Transformer(config)
    return sum(parameter.numel() for parameter in model.parameters())


def solve(spec: ModelSpec) -> ModelConfig:
    """The sizes of least cost for a spec, by the rule of this module.

    Raises InfeasibleBudget where no sizes in the domain meet the spec.
    """
    config = _search(spec)
    if config is None:
        reason, remedy = _diagnose(spec)
        raise InfeasibleBudget(spec, reason, remedy, nearest_feasible(spec))
    return config


class _Solution(NamedTuple):
    """Compared as a tuple: the least cost first, ties by the sizes."""

    cost: float
    width: int
    depth: int
    head_size: int
    inner_width: int


@dataclass(frozen=True, kw_only=True)
class _Shapes:
    """Pairs of width and depth [pairs], and what the budget would leave to real-valued sizes.

    The bounds are a little loose: they say where whole sizes are looked for, not which ones do.
    """

    width: Floats
    depth: Floats
    attention_low: Floats
    attention_high: Floats
    inner_low: Floats
    inner_high: Floats

    @property
    def possible(self) -> NDArray[np.bool_]:
        return (self.attention_low <= self.attention_high) & (self.inner_low <= self.inner_high)

    @property
    def least_cost(self) -> Floats:
        """No solution of a pair costs less."""
        nearest = np.clip(self.width, self.attention_low, self.attention_high)
        return _shape_cost(nearest / self.width, self.depth)

    def where(self, chosen: NDArray[np.bool_]) -> _Shapes:
        return _Shapes(**{name: values[chosen] for name, values in vars(self).items()})


def _shape_cost(attention_ratio: Floats, depth: Floats | float) -> Floats:
    attention_cost: Floats = np.abs(np.log(attention_ratio))
    return attention_cost + DEPTH_WEIGHT * np.abs(np.log(np.asarray(depth) / REFERENCE_DEPTH))


def _alignment_cost(multiple: int | NDArray[np.int64]) -> Floats:
    return np.asarray(ALIGNMENT_WEIGHT * np.log2(ALIGNMENTS[0] / np.asarray(multiple)))


def _widths(spec: ModelSpec) -> tuple[float, float]:
    """Bounds of the width that target and share leave, as real numbers, domain aside."""
    column = EMBEDDING_MATRICES[spec.output_head] * spec.vocabulary
    low = (spec.embedding_ratio - SHARE_TOLERANCE) * (1 - TOTAL_TOLERANCE)
    high = (spec.embedding_ratio + SHARE_TOLERANCE) * (1 + TOTAL_TOLERANCE)
    return low * spec.target_parameters / column, high * spec.target_parameters / column


def _shapes(spec: ModelSpec) -> _Shapes:
    low, high = _widths(spec)
    widths = np.arange(max(MIN_WIDTH, math.floor(low)), math.floor(high) + 2)
    depths = np.arange(MIN_DEPTH, MAX_DEPTH + 1)
    width = np.repeat(widths, len(depths)).astype(np.float64)
    depth = np.tile(depths, len(widths)).astype(np.float64)

    embedding = EMBEDDING_MATRICES[spec.output_head] * spec.vocabulary * width
    target, share = spec.target_parameters, spec.embedding_ratio
    least = np.maximum(target * (1 - TOTAL_TOLERANCE), embedding / (share + SHARE_TOLERANCE))
    most = np.full_like(width, target * (1 + TOTAL_TOLERANCE))
    if share > SHARE_TOLERANCE:
        most = np.minimum(most, embedding / (share - SHARE_TOLERANCE))

    inner_low = np.maximum(width * spec.glu_expansion * (1 - EXPANSION_TOLERANCE), 1)
    inner_high = width * spec.glu_expansion * (1 + EXPANSION_TOLERANCE)
    layer_least, layer_most = (
        ((total - embedding - width) / depth / width - 2) for total in (least, most)
    )
    matrices = FEED_FORWARD_MATRICES[spec.feed_forward]
    attention_low = (layer_least - matrices * inner_high) / ATTENTION_MATRICES[spec.attention]
    attention_high = (layer_most - matrices * inner_low) / ATTENTION_MATRICES[spec.attention]
    return _Shapes(
        width=width,
        depth=depth,
        attention_low=np.maximum(attention_low - SLACK, width / MAX_ATTENTION_RATIO),
        attention_high=np.minimum(attention_high + SLACK, width * MAX_ATTENTION_RATIO),
        inner_low=inner_low - SLACK,
        inner_high=inner_high + SLACK,
    )


def _search(spec: ModelSpec) -> ModelConfig | None:
    """The solution of least cost, best-first over width, depth and alignment."""
    shapes = _shapes(spec)
    shapes = shapes.where(shapes.possible)
    least_cost = np.concatenate(
        [
            np.where(shapes.width % multiple == 0, shapes.least_cost, np.inf)
            + _alignment_cost(multiple)
            for multiple in ALIGNMENTS
        ]
    )
    best = _Solution(math.inf, 0, 0, 0, 0)
    for place in np.argsort(least_cost, kind="stable"):
        if least_cost[place] == math.inf or least_cost[place] > best.cost:
            break
        alignment, pair = divmod(int(place), len(shapes.width))
        found = _best_of_pair(spec, shapes, pair, ALIGNMENTS[alignment])
        best = min(best, found or best)
    if not best.width:
        return None
    return ModelConfig(
        vocabulary=spec.vocabulary,
        context=spec.context,
        width=best.width,
        depth=best.depth,
        heads=spec.heads,
        head_size=best.head_size,
        inner_width=best.inner_width,
        output_head=spec.output_head,
        attention=spec.attention,
        feed_forward=spec.feed_forward,
    )


def _multiples(of: int, low: float, high: float) -> NDArray[np.int64]:
    return np.arange(max(math.ceil(low / of), 1), math.floor(high / of) + 1, dtype=np.int64) * of


def _best_of_pair(spec: ModelSpec, shapes: _Shapes, pair: int, multiple: int) -> _Solution | None:
    """The best head size and inner width, multiples of `multiple`, for one width and depth."""
    width, depth = int(shapes.width[pair]), int(shapes.depth[pair])
    head_size = _multiples(
        max(multiple, 2),
        shapes.attention_low[pair] / spec.heads,
        shapes.attention_high[pair] / spec.heads,
    )[:, None]
    inner_width = _multiples(multiple, shapes.inner_low[pair], shapes.inner_high[pair])[None, :]
    if not head_size.size or not inner_width.size:
        return None
    attention_width = spec.heads * head_size
    embedding = EMBEDDING_MATRICES[spec.output_head] * spec.vocabulary * width
    layer = (
        2 * width
        + ATTENTION_MATRICES[spec.attention] * width * attention_width
        + FEED_FORWARD_MATRICES[spec.feed_forward] * width * inner_width
    )
    total = embedding + depth * layer + width
    total_error = np.abs(total / spec.target_parameters - 1)
    share_error = np.abs(embedding / total - spec.embedding_ratio)
    expansion_error = np.abs(inner_width / width / spec.glu_expansion - 1)
    allowed = (
        (total_error <= TOTAL_TOLERANCE)
        & (share_error <= SHARE_TOLERANCE)
        & (expansion_error <= EXPANSION_TOLERANCE)
    )
    if not allowed.any():
        return None
    misfit = (
        total_error / TOTAL_TOLERANCE
        + share_error / SHARE_TOLERANCE
        + expansion_error / EXPANSION_TOLERANCE
    ) / 3
    cost = np.where(
        allowed,
        _shape_cost(attention_width / width, depth)
        + _alignment_cost(np.gcd(np.gcd(width, head_size), np.gcd(inner_width, ALIGNMENTS[0])))
        + MISFIT_WEIGHT * misfit,
        np.inf,
    )
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    return _Solution(
        float(cost[row, column]), width, depth, int(head_size[row, 0]), int(inner_width[0, column])
    )


def nearest_feasible(spec: ModelSpec) -> ModelSpec | None:
    """The spec that solves and differs from `spec` in one property by the smallest relative step.

    Steps are × 1.01^k and ÷ 1.01^k, up to a factor of 32. At equal steps the order is: target
    parameters, embedding share, vocabulary, expansion; up before down. None if no step solves.
    """
    for changed in _neighbours(spec):
        if _search(changed) is not None:
            return changed
    return None


def _neighbours(spec: ModelSpec) -> Iterator[ModelSpec]:
    for step in range(1, math.ceil(math.log(32) / math.log(1.01))):
        for name in ("target_parameters", "embedding_ratio", "vocabulary", "glu_expansion"):
            for factor in (1.01**step, 1.01**-step):
                asked = getattr(spec, name)
                value = asked * factor
                value = round(value) if isinstance(asked, int) else round(value, 4)
                if name == "embedding_ratio" and value >= 1:
                    continue
                if name == "glu_expansion" and value > 64:
                    continue
                yield replace(spec, **{name: value})


def _diagnose(spec: ModelSpec) -> tuple[str, str]:
    """Why a spec has no solution, and what to change."""
    low, high = _widths(spec)
    if high < MIN_WIDTH:
        return (
            f"the share allows a width of {high:.1f} at most, the least is {MIN_WIDTH}",
            "lower the vocabulary, or raise the share or the target",
        )
    if math.floor(high) < math.ceil(low):
        return (
            f"no whole width lies between {low:.2f} and {high:.2f}",
            "lower the vocabulary or raise the target",
        )
    shapes = _shapes(spec)
    if np.all(shapes.attention_low > shapes.width * MAX_ATTENTION_RATIO):
        return (
            f"{MAX_DEPTH} layers with attention {MAX_ATTENTION_RATIO} times the width are too "
            "small for what the embedding leaves",
            "raise the share or the target, or lower the vocabulary",
        )
    if np.all(shapes.attention_high < shapes.width / MAX_ATTENTION_RATIO):
        return (
            f"{MIN_DEPTH} layers are too large for what the embedding leaves",
            "lower the share, the expansion or the target, or raise the vocabulary",
        )
    return (
        f"no whole sizes meet all tolerances with {spec.heads} heads",
        "change one of the numbers a little, or take fewer heads",
    )


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.3g}M" if parameters < 1e7 else f"{parameters / 1e6:.1f}M"


def _difference(spec: ModelSpec, nearest: ModelSpec) -> str:
    if nearest.target_parameters != spec.target_parameters:
        return f"{_millions(nearest.target_parameters)}"
    if nearest.embedding_ratio != spec.embedding_ratio:
        return f"embedding share {nearest.embedding_ratio:g}"
    if nearest.vocabulary != spec.vocabulary:
        return f"vocabulary {nearest.vocabulary}"
    return f"expansion {nearest.glu_expansion:g}"
