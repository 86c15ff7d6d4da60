"""From a budget and two ratios to the sizes of a model, and the count of its parameters.

A model of width d, depth L, attention width A = heads × head size and inner width f, over a
vocabulary of V, has

    embedding and head   V·d            tied; 2·V·d untied, and both count as embedding
    attention            L·4·d·A        q, k and v: d → A; output: A → d; no biases
    feed-forward         L·3·d·f        where it is gated, else L·2·d·f
    norms                L·2·d + d      the gains of two RMSNorms a layer and of a last one

How many matrices a variant has comes from the tables in `model.spec`. Which sizes are allowed, and
by what rule one of the solutions is taken, is written in `model.sizing.search`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from model.sizing.search import (
    EXPANSION_TOLERANCE,
    MAX_ATTENTION_RATIO,
    MAX_DEPTH,
    MIN_DEPTH,
    MIN_WIDTH,
    TOTAL_TOLERANCE,
    allowed_shapes,
    allowed_widths,
    search,
)
from model.spec import (
    ATTENTION_MATRICES,
    EMBEDDING_MATRICES,
    FEED_FORWARD_MATRICES,
    MAX_EXPANSION,
    ModelConfig,
    ModelSpec,
)

NEAREST_STEP = 1.01
NEAREST_REACH = 32
"""The nearest feasible spec is looked for up to this factor, in steps of the other."""


class InfeasibleBudget(ValueError):  # noqa: N818  named for what the user asked, not for the code
    """No sizes in the domain meet the spec.

    Attributes:
        spec: what was asked for.
        reason: why it has no solution.
        nearest: a spec that has one, by the smallest step in one property; see
            `nearest_feasible`. None where no step helps.
    """

    def __init__(
        self, spec: ModelSpec, *, reason: str, remedy: str, nearest: ModelSpec | None
    ) -> None:
        self.spec = spec
        self.reason = reason
        self.nearest = nearest
        super().__init__(
            f"No width gives {_short(spec.target_parameters)} ± {100 * TOTAL_TOLERANCE:g} % with "
            f"vocabulary {spec.vocab_size}, embedding share {spec.embedding_ratio:g} and "
            f"expansion {spec.glu_expansion:g}: {reason}; "
            f"nearest: {_difference(spec, nearest)}; {remedy}"
        )


@dataclass(frozen=True, kw_only=True)
class ParameterCount:
    """Trainable parameters by part."""

    embedding: int
    lm_head: int
    """0 where the head is the embedding, transposed."""
    attention: int
    feed_forward: int
    norms: int

    @property
    def total(self) -> int:
        """Every parameter once."""
        return self.embedding + self.lm_head + self.attention + self.feed_forward + self.norms

    @property
    def embedding_share(self) -> float:
        """Embedding and head over all parameters."""
        return (self.embedding + self.lm_head) / self.total


def count_parameters(config: ModelConfig) -> ParameterCount:
    """The closed form of what the built model has."""
    embedding = config.vocab_size * config.d_model
    attention = ATTENTION_MATRICES[config.attention] * config.d_model * config.d_attention
    feed_forward = FEED_FORWARD_MATRICES[config.feed_forward] * config.d_model * config.d_ff
    return ParameterCount(
        embedding=embedding,
        lm_head=(EMBEDDING_MATRICES[config.embedding] - 1) * embedding,
        attention=config.n_layers * attention,
        feed_forward=config.n_layers * feed_forward,
        norms=(2 * config.n_layers + 1) * config.d_model,
    )


def count_built(config: ModelConfig) -> int:
    """Distinct parameters of the model itself, built on the meta device, where it has no data."""
    # The solver is used where torch is not needed: plans, spaces, tables.
    import torch  # noqa: PLC0415

    from model.network.transformer import Transformer  # noqa: PLC0415

    with torch.device("meta"):
        transformer = Transformer(config)
    return sum(parameter.numel() for parameter in transformer.parameters())


def solve(spec: ModelSpec) -> ModelConfig:
    """The sizes that the rule of this module takes for a spec.

    Raises InfeasibleBudget where no sizes in the domain meet the spec.
    """
    config = search(spec)
    if config is None:
        reason, remedy = _diagnose(spec)
        raise InfeasibleBudget(spec, reason=reason, remedy=remedy, nearest=nearest_feasible(spec))
    return config


def nearest_feasible(spec: ModelSpec) -> ModelSpec | None:
    """The spec that solves and is the smallest step away from one that does not.

    A step changes one property by a factor of 1.01^k, k = 1, 2, …, up or down, to at most 32 times
    or a 32nd. The smallest k wins; at equal k the target parameters, then the embedding share,
    the vocabulary, the expansion, and up before down. None where no step solves.
    """
    return next((step for step in _steps(spec) if search(step) is not None), None)


def _steps(spec: ModelSpec) -> Iterator[ModelSpec]:
    for k in range(1, math.floor(math.log(NEAREST_REACH, NEAREST_STEP)) + 1):
        for factor in (NEAREST_STEP**k, NEAREST_STEP**-k):
            yield replace(spec, target_parameters=max(round(spec.target_parameters * factor), 1))
        for factor in (NEAREST_STEP**k, NEAREST_STEP**-k):
            if 0 < (share := round(spec.embedding_ratio * factor, 4)) < 1:
                yield replace(spec, embedding_ratio=share)
        for factor in (NEAREST_STEP**k, NEAREST_STEP**-k):
            yield replace(spec, vocab_size=max(round(spec.vocab_size * factor), 1))
        for factor in (NEAREST_STEP**k, NEAREST_STEP**-k):
            if 0 < (expansion := round(spec.glu_expansion * factor, 4)) <= MAX_EXPANSION:
                yield replace(spec, glu_expansion=expansion)


def _diagnose(spec: ModelSpec) -> tuple[str, str]:
    """Why a spec has no solution, and what to change."""
    return _diagnose_width(spec) or _diagnose_layers(spec)


def _diagnose_width(spec: ModelSpec) -> tuple[str, str] | None:
    low, high = allowed_widths(spec)
    if high < MIN_WIDTH:
        return (
            f"the share allows a width of at most {high:.1f}, the least is {MIN_WIDTH}",
            "lower the vocabulary, or raise the share or the target",
        )
    if math.ceil(low) > math.floor(high):
        return (
            f"no whole number lies between the widths {low:.2f} and {high:.2f}",
            "lower the vocabulary or raise the target",
        )
    if 2 * spec.n_heads > MAX_ATTENTION_RATIO * math.floor(high):
        return (
            f"{spec.n_heads} heads of size 2 are more than {MAX_ATTENTION_RATIO} times as wide as "
            f"the model, {math.floor(high)}",
            f"take at most {MAX_ATTENTION_RATIO * math.floor(high) // 2} heads",
        )
    return None


def _diagnose_layers(spec: ModelSpec) -> tuple[str, str]:
    low, high = allowed_widths(spec)
    widths = f"{max(math.ceil(low), MIN_WIDTH)} to {math.floor(high)}"
    shapes = allowed_shapes(spec)
    # Widths at which two layers exceed the target are no shapes: there may be none, and all hold.
    if np.all(shapes.attention_high < shapes.d_model / MAX_ATTENTION_RATIO):
        return (
            f"the embedding leaves too little for {MIN_DEPTH} layers",
            "lower the share, the expansion or the target, or raise the vocabulary",
        )
    if np.all(shapes.inner_low > shapes.inner_high):
        return (
            f"no whole inner width is {spec.glu_expansion:g} ± {100 * EXPANSION_TOLERANCE:g} % "
            f"times a width from {widths}",
            "take another expansion, lower the vocabulary or raise the target",
        )
    if np.all(shapes.attention_low > shapes.d_model * MAX_ATTENTION_RATIO):
        return (
            f"the embedding leaves more than {MAX_DEPTH} layers with attention "
            f"{MAX_ATTENTION_RATIO} times the width can hold",
            "raise the share, the expansion or the target, or lower the vocabulary",
        )
    return (
        f"no whole sizes at widths {widths} with {spec.n_heads} heads meet all tolerances",
        "take another of these numbers, or fewer heads",
    )


def _difference(spec: ModelSpec, nearest: ModelSpec | None) -> str:
    """What the nearest spec asks for in place of what was asked."""
    if nearest is None:
        return "none that differs in one number"
    if nearest.target_parameters != spec.target_parameters:
        return _short(nearest.target_parameters)
    if nearest.embedding_ratio != spec.embedding_ratio:
        return f"embedding share {nearest.embedding_ratio:g}"
    if nearest.vocab_size != spec.vocab_size:
        return f"vocabulary {nearest.vocab_size}"
    return f"expansion {nearest.glu_expansion:g}"


def _short(parameters: int) -> str:
    """10M, 1.04M, 998.6k."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if parameters >= unit:
            return f"{parameters / unit:.4g}{name}"
    return str(parameters)
