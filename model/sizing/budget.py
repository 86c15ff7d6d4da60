"""From a budget and wishes to the sizes of a model, or to the reason why there are none.

What the parts of a model count is in `model.parts`, which sizes are allowed in `domain`, by what
rule one of the solutions is taken in `search`, and why a spec has none in `refusals`.
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
            f"{'No width gives' if spec.d_model is None else 'No sizes give'} "
            f"{short(spec.target_parameters)} ± {100 * TOTAL_TOLERANCE:g} % with {wishes(spec)}: "
            f"{reason}; nearest: {_difference(spec, nearest)}; {remedy}"
        )


def solve(spec: ModelSpec) -> ModelConfig:
    """The sizes that the rule in `model.sizing.search` takes for a spec.

    Raises InfeasibleBudget where no sizes in the domain meet the spec.
    """
    config = search(spec)
    if config is None:
        reason, remedy = diagnose(spec)
        raise InfeasibleBudget(spec, reason=reason, remedy=remedy, nearest=nearest_feasible(spec))
    return config


def nearest_feasible(spec: ModelSpec) -> ModelSpec | None:
    """The spec that solves and is the smallest step away from one that does not.

    A step changes one property by a factor of 1.01^k, k = 1, 2, …, up or down, to at most 32 times
    or a 32nd. The smallest k wins; at equal k the target parameters, then the embedding share,
    the vocabulary, the expansion, the pinned width, depth, head size and inner width, and up
    before down. What is free stays free. None where no step solves.
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
        for name in ("d_model", "n_layers", "head_dim", "d_ff"):
            yield from _pin_steps(spec, name, k)


def _pin_steps(spec: ModelSpec, name: str, k: int) -> Iterator[ModelSpec]:
    """A pinned size, k steps away in either direction, where that is another size than before."""
    pin = getattr(spec, name)
    if pin is None:
        return
    unit = 2 if name == "head_dim" else 1
    for sign in (1, -1):
        here, before = (
            max(round(pin * NEAREST_STEP ** (sign * steps) / unit), 1) * unit
            for steps in (k, k - 1)
        )
        if here != before:
            yield replace(spec, **{name: here})


def _difference(spec: ModelSpec, nearest: ModelSpec | None) -> str:
    """What the nearest spec asks for in place of what was asked."""
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
