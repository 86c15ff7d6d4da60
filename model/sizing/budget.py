"""From a budget and pins to the sizes of a model, or to the reason why there are none.

`model.parts` counts parameters, `domain` says which sizes are allowed, `search` picks one of the
solutions, and `refusals` explains why a spec has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from model.sizing.domain import TOTAL_TOLERANCE
from model.sizing.refusals import diagnose, short, wishes
from model.sizing.search import search
from model.spec import MAX_EXPANSION, ModelConfig, ModelSpec

NEAREST_STEP = 1.01
NEAREST_REACH = 32
"""The nearest feasible spec is searched in steps of NEAREST_STEP, up to this factor."""


class InfeasibleBudget(ValueError):  # noqa: N818  named for what the user asked, not for the code
    """No sizes in the domain meet the spec.

    Attributes:
        spec: what was asked for.
        reason: why it has no solution.
        nearest: the nearest spec that has one, see `nearest_feasible`; None if there is none.
    """

    def __init__(
        self, spec: ModelSpec, *, reason: str, remedy: str, nearest: ModelSpec | None
    ) -> None:
        self.spec = spec
        self.reason = reason
        self.nearest = nearest
        super().__init__(
            f"{'No width gives' if spec.d_model is None else 'No sizes give'} "
            f"{short(spec.target_parameters)} ± {100 * TOTAL_TOLERANCE:g} % with {wishes(spec)}: "
            f"{reason}; nearest: {_difference(spec, nearest)}; {remedy}"
        )


def solve(spec: ModelSpec) -> ModelConfig:
    """The sizes that the rule in `model.sizing.search` picks for a spec.

    Raises InfeasibleBudget if no sizes in the domain meet it.
    """
    config = search(spec)
    if config is None:
        reason, remedy = diagnose(spec)
        raise InfeasibleBudget(spec, reason=reason, remedy=remedy, nearest=nearest_feasible(spec))
    return config


def nearest_feasible(spec: ModelSpec) -> ModelSpec | None:
    """The spec with a solution that is nearest to one without; None if no step helps.

    A step changes one property by a factor of 1.01^k, k = 1, 2, …, up or down, to at most 32 times
    or a 32nd. The smallest k wins; at equal k the target parameters, then the embedding share,
    the vocabulary, the expansion, the pinned width, depth, head size, inner width and rank, and up
    before down. What is free stays free.
    """
    return next((step for step in _steps(spec) if search(step) is not None), None)


def _steps(spec: ModelSpec) -> Iterator[ModelSpec]:
    for k in range(1, math.floor(math.log(NEAREST_REACH, NEAREST_STEP)) + 1):
        factors = (NEAREST_STEP**k, NEAREST_STEP**-k)
        for factor in factors:
            yield replace(spec, target_parameters=max(round(spec.target_parameters * factor), 1))
        if spec.embedding_ratio is not None:
            for factor in factors:
                if 0 < (share := round(spec.embedding_ratio * factor, 4)) < 1:
                    yield replace(spec, embedding_ratio=share)
        for factor in factors:
            yield replace(spec, vocab_size=max(round(spec.vocab_size * factor), 1))
        if spec.glu_expansion is not None:
            for factor in factors:
                if 0 < (expansion := round(spec.glu_expansion * factor, 4)) <= MAX_EXPANSION:
                    yield replace(spec, glu_expansion=expansion)
        for name in ("d_model", "n_layers", "head_dim", "d_ff", "embedding_rank"):
            yield from _pin_steps(spec, name, k)


def _pin_steps(spec: ModelSpec, name: str, k: int) -> Iterator[ModelSpec]:
    """The spec with a pin moved k steps up or down, if rounding makes that another size."""
    pin = getattr(spec, name)
    if pin is None:
        return
    unit = 2 if name == "head_dim" else 1
    for sign in (1, -1):
        here, before = (
            max(round(pin * NEAREST_STEP ** (sign * steps) / unit), 1) * unit
            for steps in (k, k - 1)
        )
        if here != before and not _too_narrow(spec, **{name: here}):
            yield replace(spec, **{name: here})


def _too_narrow(
    spec: ModelSpec, *, d_model: int | None = None, embedding_rank: int | None = None, **_: int
) -> bool:
    """Whether the width would no longer be above the rank."""
    width, rank = d_model or spec.d_model, embedding_rank or spec.embedding_rank
    return width is not None and rank is not None and width <= rank


def _difference(spec: ModelSpec, nearest: ModelSpec | None) -> str:
    """The one setting in which the nearest spec differs, with its value."""
    if nearest is None:
        return "none that differs in one number"
    if nearest.target_parameters != spec.target_parameters:
        return short(nearest.target_parameters)
    if nearest.embedding_ratio != spec.embedding_ratio:
        return f"embedding share {nearest.embedding_ratio:g}"
    if nearest.vocab_size != spec.vocab_size:
        return f"vocabulary {nearest.vocab_size}"
    if nearest.glu_expansion != spec.glu_expansion:
        return f"expansion {nearest.glu_expansion:g}"
    return next(
        f"{name} {size}" for name, size in nearest.values().items() if size != getattr(spec, name)
    )
