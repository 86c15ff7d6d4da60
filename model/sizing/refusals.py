"""Why a spec has no solution, and what to change."""

from __future__ import annotations

import math

import numpy as np

from model.sizing.domain import (
    EXPANSION_TOLERANCE,
    MAX_ATTENTION_RATIO,
    MAX_DEPTH,
    MIN_DEPTH,
    MIN_WIDTH,
    SHARE_TOLERANCE,
    Problem,
    allowed_shapes,
    allowed_widths,
    totals,
)
from model.sizing.search import search
from model.spec import ModelSpec

_FREEABLE = (
    *("d_model", "n_layers", "head_dim", "d_ff", "embedding_rank"),
    *("embedding_ratio", "glu_expansion"),
)
"""What a remedy may leave free, in the order in which it is named."""
_OF_RANK = ("embedding_rank", "embedding_ratio")


def diagnose(spec: ModelSpec) -> tuple[str, str]:
    """(reason, remedy) of a spec that has no solution."""
    if _is_pinned(spec):
        return _diagnose_pins(spec) or _diagnose_totals(spec)
    return _diagnose_width(spec) or _diagnose_layers(spec)


def wishes(spec: ModelSpec) -> str:
    """What a spec asks for besides its target: vocabulary 16000, d_model 220 and n_layers 8."""
    asked = [] if spec.budget == "total" else ["only active parameters counted"]
    asked.append(f"vocabulary {spec.vocab_size}")
    if spec.embedding_ratio is not None:
        asked.append(f"embedding share {spec.embedding_ratio:g}")
    if spec.glu_expansion is not None:
        asked.append(f"expansion {spec.glu_expansion:g}")
    if spec.kv_share is not None:
        asked.append(f"kv_share {spec.kv_share:g}")
    if spec.n_kv_heads is not None:
        asked.append(f"n_kv_heads {spec.n_kv_heads}")
    asked += [f"{name} {size}" for name, size in _pins(spec).items()]
    return " and ".join(part for part in (", ".join(asked[:-1]), asked[-1]) if part)


def short(parameters: int) -> str:
    """10M, 1.04M, 998.6k."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if parameters >= unit:
            return f"{parameters / unit:.4g}{name}"
    return str(parameters)


def _pins(spec: ModelSpec) -> dict[str, int]:
    """The pinned sizes, without n_heads, which a default pins."""
    sizes = ("d_model", "n_layers", "head_dim", "d_ff", "embedding_rank")
    return {name: getattr(spec, name) for name in sizes if getattr(spec, name) is not None}


def _is_pinned(spec: ModelSpec) -> bool:
    """Whether a spec pins a size, or leaves a ratio, the heads or a rank free."""
    free = (spec.embedding_ratio, spec.glu_expansion, spec.n_heads)
    return bool(_pins(spec)) or None in free or Problem.of(spec).has_rank


def _diagnose_width(spec: ModelSpec) -> tuple[str, str] | None:
    assert spec.n_heads is not None
    low, high = allowed_widths(spec)
    if high < MIN_WIDTH:
        return (
            f"the share allows a width of at most {high:.1f}, but the minimum is {MIN_WIDTH}",
            "lower the vocabulary, or raise the share or the target",
        )
    if math.ceil(low) > math.floor(high):
        return (
            f"there is no whole width between {low:.2f} and {high:.2f}",
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
    least, most = totals(Problem.of(spec), shapes)
    # Widths at which two layers exceed the target are left out already. If none is left, this is
    # true as well.
    if np.all(least > shapes.total_high):
        return (
            f"the embedding leaves too little for {MIN_DEPTH} layers",
            "lower the share, the expansion or the target, or raise the vocabulary",
        )
    if np.all(shapes.inner_low > shapes.inner_high):
        return (
            f"no whole d_ff is {spec.glu_expansion:g} ± {100 * EXPANSION_TOLERANCE:g} % times a "
            f"width from {widths}",
            "take another expansion, lower the vocabulary or raise the target",
        )
    if np.all(most < shapes.total_low):
        return (
            f"the embedding leaves more parameters than {MAX_DEPTH} layers with attention "
            f"{MAX_ATTENTION_RATIO} times the width can take",
            "raise the share, the expansion or the target, or lower the vocabulary",
        )
    return (
        f"no whole sizes at widths {widths} with {spec.n_heads} heads meet all tolerances",
        "change one of these numbers, or take fewer heads",
    )


def _diagnose_pins(spec: ModelSpec) -> tuple[str, str] | None:
    """Pins that are outside the domain, or that contradict each other or a ratio."""
    d_model, n_layers = spec.d_model, spec.n_layers
    if d_model is not None and d_model < MIN_WIDTH:
        return f"d_model {d_model} is too narrow", f"take at least {MIN_WIDTH}"
    if n_layers is not None and not MIN_DEPTH <= n_layers <= MAX_DEPTH:
        return (
            f"n_layers {n_layers} is out of range",
            f"take {MIN_DEPTH} to {MAX_DEPTH} layers",
        )
    if d_model is None:
        return _diagnose_rank(spec)
    return (
        _diagnose_share(spec, d_model)
        or _diagnose_inner(spec, d_model)
        or _diagnose_heads(spec, d_model)
    )


def _diagnose_rank(spec: ModelSpec) -> tuple[str, str] | None:
    """A rank that makes the share only at widths far beyond the target."""
    if spec.embedding_rank is None or spec.embedding_ratio is None:
        return None
    low, high = allowed_widths(spec)
    least = Problem.of(spec).least_without_attention(np.array([math.ceil(low)]), MIN_DEPTH)
    if low <= high and least[0] <= spec.target_parameters:
        return None
    rank = spec.embedding_rank
    share = int(Problem.of(spec).embedding(rank + 1, rank)) / spec.target_parameters
    return (
        f"embedding_rank {rank} makes the embedding share about {100 * share:.4g} % at d_model "
        f"{rank + 1}, and little more at any other, not {100 * spec.embedding_ratio:.4g} ± "
        f"{100 * SHARE_TOLERANCE:g} %",
        "take another rank, or leave embedding_rank or embedding_ratio free (None)",
    )


def _diagnose_share(spec: ModelSpec, d_model: int) -> tuple[str, str] | None:
    low, high = allowed_widths(spec)
    if low <= d_model <= high:
        return None
    problem = Problem.of(spec)
    if problem.has_rank and spec.embedding_rank is None:
        assert spec.embedding_ratio is not None
        return (
            f"no rank below d_model {d_model} makes the embedding share "
            f"{100 * spec.embedding_ratio:.4g} ± {100 * SHARE_TOLERANCE:g} %",
            f"take a d_model from {math.ceil(low)}, lower the share or the target, raise the "
            "vocabulary, or take an embedding without a rank",
        )
    rank = spec.embedding_rank or 0
    share = int(problem.embedding(d_model, rank)) / spec.target_parameters
    if spec.embedding_ratio is None:
        return (
            f"at d_model {d_model} the embedding alone is {100 * share:.4g} % of the target",
            f"take a d_model below {math.floor(high)}, lower the vocabulary or raise the target",
        )
    if problem.has_rank:
        return (
            f"embedding_rank {rank} makes the embedding share about {100 * share:.4g} % at d_model "
            f"{d_model}, not {100 * spec.embedding_ratio:.4g} ± {100 * SHARE_TOLERANCE:g} %",
            "leave embedding_rank or embedding_ratio free (None)",
        )
    widths = f"{max(math.ceil(low), MIN_WIDTH)} to {math.floor(high)}"
    return (
        f"d_model {d_model} makes the embedding share about {100 * share:.4g} %, not "
        f"{100 * spec.embedding_ratio:.4g} ± {100 * SHARE_TOLERANCE:g} %",
        f"take a d_model from {widths}, or leave embedding_ratio free (None)",
    )


def _diagnose_inner(spec: ModelSpec, d_model: int) -> tuple[str, str] | None:
    d_ff, expansion = spec.d_ff, spec.glu_expansion
    if d_ff is None or expansion is None:
        return None
    if abs(d_ff / d_model / expansion - 1) <= EXPANSION_TOLERANCE:
        return None
    low = math.ceil(d_model * expansion * (1 - EXPANSION_TOLERANCE))
    high = math.floor(d_model * expansion * (1 + EXPANSION_TOLERANCE))
    return (
        f"d_ff {d_ff} is {d_ff / d_model:.4g} times d_model {d_model}, not {expansion:g} ± "
        f"{100 * EXPANSION_TOLERANCE:g} %",
        f"take a d_ff from {low} to {high}, or leave glu_expansion free (None)",
    )


def _diagnose_heads(spec: ModelSpec, d_model: int) -> tuple[str, str] | None:
    low, high = Problem.of(spec).attention_range(np.array([d_model]))
    if low[0] <= high[0]:
        return None
    n_heads, head_dim = spec.n_heads, spec.head_dim
    heads = f"{n_heads or 1} {'head' if n_heads in (None, 1) else 'heads'} of {head_dim or 2}"
    if head_dim is None:
        heads += ", the smallest size,"
    verb = "is" if n_heads in (None, 1) else "are"
    return (
        f"{heads} {verb} more than {MAX_ATTENTION_RATIO} times wider or narrower than d_model "
        f"{d_model}",
        f"take an attention width from {math.ceil(d_model / MAX_ATTENTION_RATIO)} to "
        f"{MAX_ATTENTION_RATIO * d_model}, or leave head_dim free (None)",
    )


def _diagnose_totals(spec: ModelSpec) -> tuple[str, str]:
    """Why pins that agree with each other miss the budget."""
    shapes = allowed_shapes(spec)
    shapes = shapes.where(~shapes.empty)
    remedy = _freed(spec)
    if not len(shapes.d_model):
        return "no width fits all of them", remedy
    least, most = totals(Problem.of(spec), shapes)
    if np.all(least > shapes.total_high):
        number = short(int(least.min()))
        if np.all(least == most):
            return f"these sizes make {number}", remedy
        return f"they allow no fewer than {number}", remedy
    if np.all(most < shapes.total_low):
        number = short(int(most.max()))
        if np.all(least == most):
            return f"these sizes make {number}", remedy
        return f"they allow no more than {number}", remedy
    return "no whole sizes meet all tolerances", remedy


def _freed(spec: ModelSpec) -> str:
    """The remedy: what to leave free, found by trying each alone."""
    asked = [name for name in _FREEABLE if getattr(spec, name) is not None]
    if spec.embedding_rank is None or spec.embedding_ratio is None:
        # One of them must fix a rank.
        asked = [name for name in asked if not (name in _OF_RANK and Problem.of(spec).has_rank)]
    helps = [name for name in asked if search(_with_free(spec, name)) is not None]
    if helps:
        return f"leave {' or '.join(helps)} free (None), or take another target"
    return "leave more of them free (None), or take another target"


def _with_free(spec: ModelSpec, name: str) -> ModelSpec:
    return ModelSpec.from_values({**spec.values(), name: None})
