"""The solver's rule by brute force, and specs to try it on.

Shares no code with the solver and no counts with `model.parts`: it lays out every size in the
domain and counts by hand-written formulas, without bounds and without an order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from model.spec import ModelConfig, ModelSpec

REFERENCE_EXPANSION = 2.66
GATED = ("swiglu", "geglu", "reglu", "polyglu", "odd", "moe")


def embedding_count(spec: ModelSpec | ModelConfig, d_model: int, rank: int = 0) -> int:
    one = spec.vocab_size * d_model
    if spec.embedding.startswith("factorized"):
        one = spec.vocab_size * rank + rank * d_model
    return (2 if spec.embedding.endswith("untied") else 1) * one


def total_count(  # type: ignore[no-untyped-def]
    spec: ModelSpec | ModelConfig, d_model, n_layers, heads, d_ff, *, rank=0
):
    """Parameters by hand, of arrays that broadcast; heads are (number, size)."""
    n_heads, head_dim = heads
    kv_heads = spec.n_kv_heads or n_heads
    if getattr(spec, "kv_share", None):
        kv_heads = np.round(n_heads * spec.kv_share)  # type: ignore[union-attr]
    inner = (3 if spec.feed_forward in GATED else 2) * d_model * d_ff
    if spec.feed_forward == "moe":
        chosen = spec.top_k if getattr(spec, "budget", "total") == "active" else spec.n_experts
        inner = (chosen + (spec.shared_experts or 0)) * inner + d_model * spec.n_experts
    if spec.feed_forward == "odd":
        inner = inner + d_ff + 7
    if spec.feed_forward == "polyglu":
        inner = inner + 4 * d_ff + 4 + 32 * d_model + 32 + 32 * 4 + 4
    layer = 2 * d_model * head_dim * (n_heads + kv_heads) + inner + 2 * d_model
    if spec.attention == "qk_norm":
        layer = layer + 2 * head_dim
    return embedding_count(spec, d_model, rank) + n_layers * layer + d_model


@dataclass(frozen=True)
class Grid:
    """Every combination of sizes at one width and rank, [depth, heads, inner width]."""

    d_model: int
    rank: int
    n_layers: np.ndarray
    n_heads: np.ndarray
    head_dim: np.ndarray
    d_ff: np.ndarray

    @property
    def size(self) -> int:
        return self.n_layers.size * self.n_heads.size * self.d_ff.size


def _heads(spec: ModelSpec, d_model: int) -> Iterator[tuple[int, int]]:
    if spec.n_heads is not None:
        numbers = [spec.n_heads]
    elif spec.head_dim is None:
        unit = _divisor(spec)
        numbers = [max(unit, unit * math.floor(d_model / 64 / unit + 0.5))]
    else:
        numbers = [n for n in range(1, 4 * d_model + 1) if n % _divisor(spec) == 0]
    for n_heads in numbers:
        widest = 4 * d_model // n_heads
        for head_dim in [spec.head_dim] if spec.head_dim else range(2, widest + 1, 2):
            if d_model <= 4 * n_heads * head_dim <= 16 * d_model:
                yield n_heads, head_dim


def _divisor(spec: ModelSpec) -> int:
    """What divides the number of heads if it is free."""
    if spec.n_kv_heads is not None:
        return spec.n_kv_heads
    return 1 if spec.kv_share is None else round(1 / spec.kv_share)


def _inner(spec: ModelSpec, d_model: int) -> np.ndarray:
    if spec.d_ff is not None:
        widths = np.array([spec.d_ff])
    elif spec.glu_expansion is not None:
        widths = np.arange(1, math.ceil(1.1 * spec.glu_expansion * d_model) + 1)
    else:
        widths = np.arange(math.ceil(d_model / 4), 16 * d_model + 1)
    if spec.glu_expansion is not None:
        widths = widths[np.abs(widths / d_model / spec.glu_expansion - 1) <= 0.02]
    return widths


def _widths_and_ranks(spec: ModelSpec) -> Iterator[tuple[int, int]]:
    target = spec.target_parameters
    most = math.ceil(target / spec.vocab_size) + 1
    if spec.embedding.startswith("factorized"):
        # Two layers of such a width alone have more parameters: 4·d·d/4 and 2·d·d/4 each.
        most = math.ceil(math.sqrt(1.01 * target / 3)) + 1
    for d_model in range(8, most + 1) if spec.d_model is None else [spec.d_model]:
        if not spec.embedding.startswith("factorized"):
            yield d_model, 0
        elif spec.embedding_rank is not None:
            if spec.embedding_rank < d_model:
                yield d_model, spec.embedding_rank
        else:
            yield from ((d_model, rank) for rank in range(1, d_model))


def grids(spec: ModelSpec) -> Iterator[Grid]:
    """The whole domain, a width at a time; only widths that miss the share by far are left out."""
    target, share = spec.target_parameters, spec.embedding_ratio
    for d_model, rank in _widths_and_ranks(spec):
        embedding = embedding_count(spec, d_model, rank)
        if d_model < 8 or embedding > 1.01 * target:
            continue
        if share is not None and not (
            (share - 0.011) * 0.99 < embedding / target < (share + 0.011) * 1.01
        ):
            continue
        depths = np.arange(2, 33)
        if spec.n_layers is not None:
            depths = depths[depths == spec.n_layers]
        heads = np.array(list(_heads(spec, d_model)), dtype=np.int64).reshape(-1, 2)
        yield Grid(d_model, rank, depths, heads[:, 0], heads[:, 1], _inner(spec, d_model))


def grid_size(spec: ModelSpec) -> float:
    """About as many combinations as `grids` lays out."""
    if spec.embedding.startswith("factorized"):
        return _factorized_size(spec)
    if spec.embedding_ratio is None and spec.d_model is None:
        widest = 1.01 * spec.target_parameters / embedding_count(spec, 1)
        widths = widest
    else:
        share = 1.0 if spec.embedding_ratio is None else spec.embedding_ratio + 0.01
        widest = spec.d_model or share * spec.target_parameters / embedding_count(spec, 1)
        widths = 1 if spec.d_model else 1 + widest * 0.03 / share
    attention = 1.0 if spec.head_dim and spec.n_heads else 4 * widest / (spec.n_heads or 1) / 2
    inner = 16 * widest if spec.glu_expansion is None else 1 + 0.04 * spec.glu_expansion * widest
    depths = 31 if spec.n_layers is None else 1
    return widths * depths * attention * (1.0 if spec.d_ff else inner)


def _factorized_size(spec: ModelSpec) -> float:
    widest = spec.d_model or math.sqrt(1.01 * spec.target_parameters / 3)
    ranks = 1.0
    if spec.embedding_rank is None:
        share = spec.embedding_ratio or 1.0
        ranks = (
            1
            + 0.022 * spec.target_parameters / embedding_count(spec, widest, 1)
            + 0.02 * (share * widest)
        )
    widths = 1.0 if spec.d_model else widest
    attention = 1.0 if spec.head_dim and spec.n_heads else 4 * widest / (spec.n_heads or 1) / 2
    inner = 16 * widest if spec.glu_expansion is None else 1 + 0.04 * spec.glu_expansion * widest
    depths = 31 if spec.n_layers is None else 1
    return widths * ranks * depths * attention * (1.0 if spec.d_ff else inner)


@dataclass(frozen=True)
class Costs:
    """What the rule in the docstring of model.sizing.search compares, [solutions]."""

    settled: np.ndarray
    cost: np.ndarray

    def least(self) -> tuple[float, float]:
        order = np.lexsort((self.cost, self.settled))
        return float(self.settled[order[0]]), float(self.cost[order[0]])


def _unaligned(size):  # type: ignore[no-untyped-def]
    """0, 0.1, 0.3, 0.4 or 0.5 for a multiple of 16, 8, 4, 2 or 1."""
    size = np.asarray(size)
    steps = [(16, 0.1), (8, 0.2), (4, 0.1), (2, 0.1)]
    return sum(step * (size % multiple != 0) for multiple, step in steps)


def _costs(spec: ModelSpec, *, d_model, rank, n_layers, n_heads, head_dim, d_ff) -> Costs:  # type: ignore[no-untyped-def]
    """The costs of those sizes that meet all tolerances, of arrays that broadcast."""
    total = total_count(spec, d_model, n_layers, (n_heads, head_dim), d_ff, rank=rank)
    misses = [np.abs(total - spec.target_parameters) / (0.005 * spec.target_parameters)]
    if spec.embedding_ratio is not None:
        share = embedding_count(spec, d_model, rank) / total
        misses.append(np.abs(share - spec.embedding_ratio) / 0.01)
    if spec.glu_expansion is not None:
        misses.append(np.abs(d_ff / d_model / spec.glu_expansion - 1) / 0.02)
    misses = [np.broadcast_to(miss, total.shape) for miss in misses]
    solved = np.logical_and.reduce([miss <= 1 for miss in misses])
    keep = np.nonzero(solved)
    n_layers, n_heads, head_dim, d_ff = (
        np.broadcast_to(size, total.shape)[keep] for size in (n_layers, n_heads, head_dim, d_ff)
    )
    misfit = sum(miss[keep] for miss in misses) / len(misses)
    attention_error = np.abs(np.log(n_heads * head_dim / d_model))
    free_expansion = spec.d_ff is None and spec.glu_expansion is None
    expansion = d_ff / d_model
    unaligned_attention = 0.5 * _unaligned(n_heads * head_dim) + 0.5 * _unaligned(2 * head_dim)
    cost = (
        attention_error
        + 0.3 * np.abs(np.log(n_layers / 12))
        + _unaligned(d_model)
        + unaligned_attention
        + 0.5 * _unaligned(d_ff)
        + 0.5 * _unaligned(rank)
        + 0.1 * misfit
    )
    if free_expansion:
        cost = cost + 0.3 * np.abs(np.log(expansion / REFERENCE_EXPANSION))
    settled = np.zeros_like(cost)
    if spec.d_model is not None and spec.n_layers is not None:
        if free_expansion:
            settled = attention_error + unaligned_attention
        else:
            settled = 0.5 * _unaligned(d_ff)
            if spec.glu_expansion is not None:
                settled = settled + 0.1 * np.abs(expansion / spec.glu_expansion - 1) / 0.02
        settled = settled + 0.5 * _unaligned(rank)
        if rank and spec.embedding_ratio is not None:
            asked = spec.embedding_ratio * spec.target_parameters
            off = abs(embedding_count(spec, d_model, rank) - asked) / spec.target_parameters
            settled = settled + 0.1 * off / 0.01
    return Costs(settled, cost)


def least_cost(spec: ModelSpec) -> tuple[float, float] | None:
    """The least of all solutions: (what is settled first, cost); None where there is none."""
    found = []
    for grid in grids(spec):
        costs = _costs(
            spec,
            d_model=grid.d_model,
            rank=grid.rank,
            n_layers=grid.n_layers[:, None, None],
            n_heads=grid.n_heads[None, :, None],
            head_dim=grid.head_dim[None, :, None],
            d_ff=grid.d_ff[None, None, :],
        )
        if costs.cost.size:
            found.append(costs.least())
    return min(found, default=None)


def cost_of(spec: ModelSpec, config: ModelConfig) -> tuple[float, float]:
    """The cost of the sizes that a solver took. They must meet the spec."""
    names = ("n_layers", "n_heads", "head_dim", "d_ff")
    sizes = {name: np.array([getattr(config, name)]) for name in names}
    rank = config.embedding_rank or 0
    assert (rank > 0) == config.embedding.startswith("factorized")
    assert rank < config.d_model
    costs = _costs(spec, d_model=config.d_model, rank=rank, **sizes)
    assert costs.cost.size == 1, f"{config} does not meet {spec}"
    for name in ("d_model", "n_layers", "n_heads", "head_dim", "d_ff", "embedding_rank"):
        assert getattr(spec, name) in (None, getattr(config, name)), name
    return costs.least()


def random_spec(
    rng: np.random.Generator, *, targets: tuple[float, float] = (5e5, 2e7)
) -> ModelSpec:
    """A spec without pins, as a space asks for it."""

    def log_uniform(low: float, high: float) -> int:
        return round(math.exp(rng.uniform(math.log(low), math.log(high))))

    n_heads = int(rng.choice([1, 2, 3, 4, 8]))
    return ModelSpec(
        target_parameters=log_uniform(*targets),
        vocab_size=log_uniform(2_000, 32_000),
        embedding_ratio=rng.uniform(0.15, 0.65),
        glu_expansion=rng.uniform(1.0, 5.0),
        n_heads=n_heads,
        attention=str(rng.choice(["multi_head", "qk_norm"])),
        kv_share=1 / int(rng.choice([n for n in (1, 2, 4) if n_heads % n == 0])),
        embedding=str(rng.choice(["tied", "untied"])),
        feed_forward=str(rng.choice(["swiglu", "geglu", "relu_squared"])),
    )


def random_pinned_spec(rng: np.random.Generator) -> ModelSpec:
    """A spec that asks for some of the sizes of a model drawn at random, now and then amiss."""

    def maybe(size: object, probability: float) -> object:
        return size if rng.random() < probability else None

    n_heads, d_model = int(rng.choice([1, 2, 3, 4])), int(rng.integers(12, 120))
    head_dim = 2 * max(1, round(d_model * rng.uniform(0.5, 2) / n_heads / 2))
    n_layers, d_ff = int(rng.integers(2, 16)), round(d_model * rng.uniform(0.5, 5))
    if rng.random() < 0.3:  # fewer heads of keys and values
        kv = {"kv_share": 1 / n_heads} if rng.random() < 0.5 else {"n_kv_heads": 1}
    else:
        kv = {}
    spec = ModelSpec(
        vocab_size=int(rng.integers(100, 8_000)),
        n_heads=n_heads,
        attention=str(rng.choice(["multi_head", "qk_norm"])),
        **kv,  # type: ignore[arg-type]
        embedding=str(rng.choice(["tied", "untied"])),
        feed_forward=str(rng.choice(["swiglu", "polyglu", "relu_squared", "gelu"])),
    )
    total = int(total_count(spec, d_model, n_layers, (n_heads, head_dim), d_ff))
    share = embedding_count(spec, d_model) / total
    pins = {
        "d_model": maybe(d_model, 0.6),
        "n_layers": maybe(n_layers, 0.6),
        "n_heads": maybe(n_heads, 0.8),
        "head_dim": maybe(head_dim, 0.3),
        "d_ff": maybe(d_ff, 0.3),
    }
    # Heads that do not divide are refused before the search.
    amiss = str(rng.choice([name for name in pins if name != "n_heads" or not kv]))
    if pins[amiss] is not None and rng.random() < 0.85:
        pins[amiss] = 2 * max(1, round(pins[amiss] * rng.uniform(0.7, 1.4) / 2))  # type: ignore[operator]
    return replace(
        spec,
        target_parameters=round(total * rng.uniform(0.994, 1.006)),
        embedding_ratio=maybe(min(0.99, share + rng.uniform(-0.012, 0.012)), 0.4),
        glu_expansion=maybe(d_ff / d_model * rng.uniform(0.98, 1.02), 0.5),
        **pins,  # type: ignore[arg-type]
    )


def random_factorized_spec(rng: np.random.Generator) -> ModelSpec:
    """A spec with a factorized embedding, as a share or a rank asks for it; now and then amiss."""

    def maybe(size: object, probability: float) -> object:
        return size if rng.random() < probability else None

    d_model = int(rng.integers(12, 72))
    rank = int(rng.integers(2, d_model))
    n_heads = int(rng.choice([1, 2, 3]))
    head_dim = 2 * max(1, round(d_model * rng.uniform(0.6, 1.6) / n_heads / 2))
    n_layers, d_ff = int(rng.integers(2, 12)), round(d_model * rng.uniform(1, 4))
    spec = ModelSpec(
        vocab_size=int(rng.integers(100, 4_000)),
        embedding=str(rng.choice(["factorized", "factorized_untied"])),
        feed_forward=str(rng.choice(["swiglu", "relu"])),
    )
    total = int(total_count(spec, d_model, n_layers, (n_heads, head_dim), d_ff, rank=rank))
    share = embedding_count(spec, d_model, rank) / total
    by_rank = rng.random() < 0.4
    pin = round(rank * rng.choice([1, 1, 1, 0.8]))
    return replace(
        spec,
        target_parameters=round(total * rng.uniform(0.994, 1.006)),
        embedding_ratio=None
        if by_rank
        else float(np.clip(share + rng.uniform(-0.02, 0.02), 0.01, 0.99)),
        embedding_rank=max(1, pin) if by_rank else None,
        glu_expansion=maybe(d_ff / d_model * rng.uniform(0.98, 1.02), 0.5),
        d_model=maybe(d_model, 0.7),  # type: ignore[arg-type]
        n_layers=maybe(n_layers, 0.7),  # type: ignore[arg-type]
        n_heads=n_heads,
        head_dim=maybe(head_dim, 0.2),  # type: ignore[arg-type]
        d_ff=maybe(d_ff, 0.2),  # type: ignore[arg-type]
    )


def random_expert_spec(rng: np.random.Generator) -> ModelSpec:
    """A spec with experts, whose budget counts all of them or those of a token."""
    spec = replace(
        random_pinned_spec(rng), feed_forward="swiglu", target_parameters=1_000, d_ff=None
    )
    n_experts = int(rng.choice([1, 2, 4, 8]))
    spec = replace(
        spec,
        feed_forward="moe",
        budget=str(rng.choice(["total", "active"])),
        n_experts=n_experts,
        top_k=int(rng.integers(1, n_experts + 1)),
        shared_experts=int(rng.choice([0, 1, 2])),
    )
    d_model = spec.d_model or int(rng.integers(12, 64))
    n_layers = spec.n_layers or int(rng.integers(2, 12))
    n_heads = spec.n_heads or (spec.n_kv_heads or 4)
    head_dim = spec.head_dim or 2 * max(1, round(d_model / n_heads / 2))
    d_ff = max(1, round(d_model * (spec.glu_expansion or rng.uniform(0.3, 3))))
    total = int(total_count(spec, d_model, n_layers, (n_heads, head_dim), d_ff))
    share = embedding_count(spec, d_model) / total
    amiss = rng.choice([1.0, rng.uniform(0.3, 3)], p=[0.5, 0.5])
    return replace(
        spec,
        target_parameters=round(amiss * total * rng.uniform(0.994, 1.006)),
        embedding_ratio=float(share) if spec.embedding_ratio is not None else None,
    )
