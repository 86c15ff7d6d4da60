"""The solver against its tolerances, against the built model and against brute force.

The brute force below shares no code with the solver: it lays out every size in the domain and
counts, without bounds and without an order.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from model.sizing.budget import (
    InfeasibleBudget,
    count_built,
    count_parameters,
    nearest_feasible,
    solve,
)
from model.sizing.search import search
from model.spec import (
    ATTENTION_MATRICES,
    EMBEDDING_MATRICES,
    FEED_FORWARD_MATRICES,
    ModelConfig,
    ModelSpec,
)

SHARES = (0.25, 0.35, 0.45)
EXPANSIONS = (2.0, 2.66, 3.0, 4.0)
CELLS = [
    ModelSpec(embedding_ratio=share, glu_expansion=expansion)
    for share in SHARES
    for expansion in EXPANSIONS
]
GRID_LIMIT = 20_000_000


def random_spec(rng: np.random.Generator, *, targets: tuple[float, float]) -> ModelSpec:
    def log_uniform(low: float, high: float) -> int:
        return round(math.exp(rng.uniform(math.log(low), math.log(high))))

    return ModelSpec(
        target_parameters=log_uniform(*targets),
        vocab_size=log_uniform(2_000, 32_000),
        embedding_ratio=rng.uniform(0.15, 0.65),
        glu_expansion=rng.uniform(1.0, 5.0),
        n_heads=int(rng.choice([1, 2, 3, 4, 8])),
        embedding=str(rng.choice(["tied", "untied"])),
        feed_forward=str(rng.choice(["swiglu", "geglu", "relu_squared"])),
    )


@dataclass(frozen=True)
class Grid:
    """Every combination of sizes at one width: depth × attention width × inner width."""

    d_model: int
    n_layers: np.ndarray
    attention: np.ndarray
    inner: np.ndarray
    solves: np.ndarray
    """[depth, attention, inner], whether all three tolerances are met."""
    misfit: np.ndarray


def grids(spec: ModelSpec, attention_widths: str = "all") -> Iterator[Grid]:
    """The whole domain, a width at a time; only widths that miss the share by far are left out."""
    target, share = spec.target_parameters, spec.embedding_ratio
    matrices = 2 if spec.embedding == "untied" else 1
    inner_matrices = 2 if spec.feed_forward == "relu_squared" else 3
    n_layers = np.arange(2, 33)
    for d_model in range(8, math.ceil(target / spec.vocab_size) + 1):
        embedding = matrices * spec.vocab_size * d_model
        if not (share - 0.011) * 0.99 < embedding / target < (share + 0.011) * 1.01:
            continue
        asked = spec.glu_expansion * d_model
        inner = np.array([f for f in range(1, 6 * d_model) if abs(f - asked) <= 0.02 * asked])
        if attention_widths == "all":
            attention = 2 * spec.n_heads * np.arange(1, 2 * d_model // spec.n_heads + 1)
            attention = attention[d_model <= 4 * attention]
        else:
            attention = np.array([d_model])
        layer = 2 * d_model + d_model * (4 * attention[:, None] + inner_matrices * inner[None, :])
        total = embedding + d_model + n_layers[:, None, None] * layer[None, :, :]
        misses = (
            abs(total - target) / (0.005 * target),
            abs(embedding / total - share) / 0.01,
            np.broadcast_to(abs(inner - asked) / (0.02 * asked), total.shape),
        )
        solves = np.logical_and.reduce([miss <= 1 for miss in misses])
        yield Grid(d_model, n_layers, attention, inner, solves, sum(misses) / 3)


def grid_size(spec: ModelSpec) -> float:
    """About as many combinations as `grids` would lay out."""
    matrices = 2 if spec.embedding == "untied" else 1
    widest = (spec.embedding_ratio + 0.01) * spec.target_parameters / spec.vocab_size / matrices
    widths = 1 + widest * 0.03 / spec.embedding_ratio
    return widths * 31 * (2 * widest / spec.n_heads) * (0.04 * spec.glu_expansion * widest + 1)


def has_solution(spec: ModelSpec, attention_widths: str = "all") -> bool:
    return any(grid.solves.any() for grid in grids(spec, attention_widths))


def least_cost(spec: ModelSpec) -> float:
    """The cost of the rule in the docstring of model.sizing.search, minimised by brute force."""
    costs = [math.inf]
    for grid in grids(spec):
        for d, a, f in np.argwhere(grid.solves):
            n_layers, attention, inner = (
                int(grid.n_layers[d]),
                int(grid.attention[a]),
                int(grid.inner[f]),
            )
            aligned = math.gcd(8, grid.d_model, inner, attention // spec.n_heads)
            costs.append(
                abs(math.log(attention / grid.d_model))
                + 0.1 * abs(math.log(n_layers / 12))
                + 0.1 * math.log2(8 / aligned)
                + 0.1 * float(grid.misfit[d, a, f])
            )
    return min(costs)


def cost(spec: ModelSpec, config: ModelConfig) -> float:
    count = count_parameters(config)
    misses = (
        abs(count.total / spec.target_parameters - 1) / 0.005,
        abs(count.embedding_share - spec.embedding_ratio) / 0.01,
        abs(config.expansion / spec.glu_expansion - 1) / 0.02,
    )
    aligned = math.gcd(8, config.d_model, config.d_ff, config.head_dim)
    return (
        abs(math.log(config.d_attention / config.d_model))
        + 0.1 * abs(math.log(config.n_layers / 12))
        + 0.1 * math.log2(8 / aligned)
        + 0.1 * sum(misses) / 3
    )


@cache
def outcomes() -> list[tuple[ModelSpec, ModelConfig | None]]:
    rng = np.random.default_rng(20_26)
    specs = [random_spec(rng, targets=(5e5, 2e7)) for _ in range(500)]
    return [(spec, search(spec)) for spec in specs]


def assert_meets(spec: ModelSpec, config: ModelConfig) -> None:
    count = count_parameters(config)
    assert abs(count.total - spec.target_parameters) <= 0.005 * spec.target_parameters
    assert abs(count.embedding_share - spec.embedding_ratio) <= 0.01
    assert abs(config.d_ff / config.d_model / spec.glu_expansion - 1) <= 0.02
    assert 2 <= config.n_layers <= 32
    assert config.head_dim % 2 == 0
    assert config.d_model / 4 <= config.d_attention <= 4 * config.d_model
    for name in ("vocab_size", "context", "n_heads", "embedding", "attention", "feed_forward"):
        assert getattr(config, name) == getattr(spec, name)


def test_every_solution_meets_the_tolerances_and_the_built_model_has_the_count() -> None:
    solved = [(spec, config) for spec, config in outcomes() if config is not None]
    assert len(solved) >= 250
    for spec, config in solved:
        assert_meets(spec, config)
        assert count_built(config) == count_parameters(config).total


def test_refusals_are_true_by_brute_force() -> None:
    refused = [spec for spec, config in outcomes() if config is None]
    checked = [spec for spec in refused if grid_size(spec) <= GRID_LIMIT]
    assert len(checked) >= 100
    for spec in checked:
        assert not has_solution(spec), spec


def test_among_small_models_where_sizes_are_coarse_solver_and_brute_force_agree() -> None:
    rng = np.random.default_rng(7)
    specs = [random_spec(rng, targets=(5e4, 8e5)) for _ in range(1500)]
    specs = [spec for spec in specs if grid_size(spec) < 30_000]
    answers = [(search(spec) is not None, has_solution(spec)) for spec in specs]
    assert [solver for solver, _ in answers] == [brute for _, brute in answers]
    assert sum(brute for _, brute in answers) >= 50
    assert sum(not brute for _, brute in answers) >= 50


def test_the_solution_taken_is_the_one_of_least_cost() -> None:
    rng = np.random.default_rng(11)
    specs = [random_spec(rng, targets=(2e5, 2e6)) for _ in range(400)]
    specs = [spec for spec in specs if grid_size(spec) < 1_000_000]
    compared = 0
    for spec in [*specs, *CELLS[:4]]:
        config = search(spec)
        if config is not None:
            assert cost(spec, config) == pytest.approx(least_cost(spec), abs=1e-9), spec
            compared += 1
    assert compared >= 50


@pytest.mark.parametrize("spec", CELLS, ids=lambda s: f"{s.embedding_ratio}x{s.glu_expansion}")
def test_the_twelve_cells_solve_with_attention_near_the_width(spec: ModelSpec) -> None:
    config = solve(spec)
    assert_meets(spec, config)
    assert count_built(config) == count_parameters(config).total
    assert 0.85 <= config.d_attention / config.d_model <= 1.15
    assert math.gcd(config.d_model, config.head_dim, config.d_ff) % 4 == 0


def test_a_cell_that_needs_the_attention_width_free() -> None:
    spec = ModelSpec(embedding_ratio=0.45, glu_expansion=4.0)
    assert not has_solution(spec, attention_widths="the width")
    assert has_solution(spec)
    assert solve(spec).d_attention != solve(spec).d_model


def test_a_solve_takes_milliseconds() -> None:
    def seconds(spec: ModelSpec) -> float:
        start = time.process_time()
        solve(spec)
        return time.process_time() - start

    assert median(seconds(spec) for spec in CELLS) < 0.05


@pytest.mark.parametrize("feed_forward", FEED_FORWARD_MATRICES)
@pytest.mark.parametrize("attention", ATTENTION_MATRICES)
@pytest.mark.parametrize("embedding", EMBEDDING_MATRICES)
def test_each_variant_counts_as_built(embedding: str, attention: str, feed_forward: str) -> None:
    config = ModelConfig(
        vocab_size=101,
        context=16,
        d_model=24,
        n_layers=3,
        n_heads=2,
        head_dim=10,
        d_ff=37,
        embedding=embedding,
        attention=attention,
        feed_forward=feed_forward,
    )
    assert count_built(config) == count_parameters(config).total


def test_the_tables_of_counts_name_the_variants_that_exist() -> None:
    from model.network.attention import ATTENTIONS
    from model.network.embeddings import EMBEDDINGS
    from model.network.feed_forward import FEED_FORWARDS

    assert set(EMBEDDING_MATRICES) == set(EMBEDDINGS)
    assert set(ATTENTION_MATRICES) == set(ATTENTIONS)
    assert set(FEED_FORWARD_MATRICES) == set(FEED_FORWARDS)


def test_count_by_hand() -> None:
    config = ModelConfig(
        vocab_size=1000, context=8, d_model=16, n_layers=2, n_heads=2, head_dim=6, d_ff=40
    )
    count = count_parameters(config)
    assert count.embedding == 16_000
    assert count.lm_head == 0
    assert count.attention == 2 * 4 * 16 * 12
    assert count.feed_forward == 2 * 3 * 16 * 40
    assert count.norms == 2 * 2 * 16 + 16
    assert count.total == 16_000 + 1_536 + 3_840 + 80
    assert count.embedding_share == 16_000 / 21_456

    untied = count_parameters(replace(config, embedding="untied"))
    assert untied.lm_head == 16_000
    assert untied.total == count.total + 16_000
    assert untied.embedding_share == 32_000 / 37_456


def test_an_untied_head_halves_the_width() -> None:
    tied = solve(ModelSpec(embedding_ratio=0.45))
    untied = solve(ModelSpec(embedding_ratio=0.45, embedding="untied"))
    assert untied.d_model == pytest.approx(tied.d_model / 2, rel=0.05)


def test_sizes_depend_on_the_spec_alone_and_not_on_the_context() -> None:
    sizes = [solve(spec) for spec in CELLS]
    assert [solve(spec) for spec in reversed(CELLS)] == sizes[::-1]
    longer = [solve(replace(spec, context=1024)) for spec in CELLS]
    assert longer == [replace(config, context=1024) for config in sizes]


def test_solving_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from model.sizing.budget import solve; from model.spec import ModelSpec\n"
        "print(solve(ModelSpec()).width)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize(
    ("changes", "reason", "remedy"),
    [
        ({"vocab_size": 500_000}, "the least is 8", "lower the vocabulary"),
        ({"embedding_ratio": 0.9}, "too little for 2 layers", "lower the share"),
        ({"vocab_size": 4_000}, "too little for 2 layers", "raise the vocabulary"),
        ({"embedding_ratio": 0.05}, "more than 32 layers", "raise the share"),
        ({"n_heads": 500}, "500 heads of size 2", "take at most 452 heads"),
        ({"glu_expansion": 0.001}, "no whole inner width", "take another expansion"),
        (
            {"target_parameters": 192_405, "embedding_ratio": 0.79},
            "no whole number lies between the widths 9.33 and 9.67",
            "raise the target",
        ),
    ],
)
def test_a_refusal_says_what_was_asked_why_it_fails_and_what_to_do(
    changes: dict[str, float], reason: str, remedy: str
) -> None:
    spec = replace(ModelSpec(), **changes)
    with pytest.raises(InfeasibleBudget) as caught:
        solve(spec)
    message = str(caught.value)
    assert caught.value.spec == spec
    assert reason in caught.value.reason
    assert caught.value.reason in message
    assert remedy in message
    assert f"vocabulary {spec.vocab_size}" in message
    assert "\n" not in message
    assert isinstance(caught.value, ValueError)


def test_the_message_in_full() -> None:
    spec = ModelSpec(vocab_size=32_768, embedding_ratio=0.9)
    with pytest.raises(InfeasibleBudget) as caught:
        solve(spec)
    assert str(caught.value) == (
        "No width gives 10M ± 0.5 % with vocabulary 32768, embedding share 0.9 and expansion 2.66: "
        "the embedding leaves too little for 2 layers; nearest: embedding share 0.8823; "
        "lower the share, the expansion or the target, or raise the vocabulary"
    )


def test_the_nearest_spec_solves_and_is_one_step_in_one_property_away() -> None:
    refused = [spec for spec, config in outcomes() if config is None][:60]
    for spec in refused:
        with pytest.raises(InfeasibleBudget) as caught:
            solve(spec)
        nearest = caught.value.nearest
        assert nearest is not None
        assert_meets(nearest, solve(nearest))
        changed = [
            f.name for f in fields(spec) if getattr(spec, f.name) != getattr(nearest, f.name)
        ]
        assert len(changed) == 1
        assert changed[0] in (
            "target_parameters",
            "embedding_ratio",
            "vocab_size",
            "glu_expansion",
        )


def test_no_smaller_step_than_the_nearest_solves() -> None:
    spec = ModelSpec(vocab_size=32_768, embedding_ratio=0.9)
    nearest = nearest_feasible(spec)
    assert nearest is not None
    steps = round(math.log(spec.embedding_ratio / nearest.embedding_ratio, 1.01))
    assert steps == 2
    for factor in (1.01, 1 / 1.01):
        assert search(replace(spec, target_parameters=round(10_000_000 * factor))) is None
        assert search(replace(spec, embedding_ratio=0.9 * factor)) is None
        assert search(replace(spec, vocab_size=round(32_768 * factor))) is None
        assert search(replace(spec, glu_expansion=2.66 * factor)) is None


def test_where_no_single_change_helps_there_is_no_nearest() -> None:
    with pytest.raises(
        InfeasibleBudget, match="nearest: none that differs in one number"
    ) as caught:
        solve(ModelSpec(target_parameters=1_000, vocab_size=128_000))
    assert caught.value.nearest is None
