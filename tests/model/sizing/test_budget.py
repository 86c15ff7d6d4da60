"""From a spec to sizes, or to a refusal that says what was asked, why it fails and what to do."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from model.sizing.budget import InfeasibleBudget, nearest_feasible, solve
from model.sizing.search import search
from model.spec import ModelSpec
from tests.model.sizing.brute_force import cost_of, random_spec


def test_solving_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from model.sizing.budget import solve; from model.spec import ModelSpec\n"
        "print(solve(ModelSpec()).d_model)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize(
    ("changes", "reason", "remedy"),
    [
        ({"vocab_size": 500_000}, "the minimum is 8", "lower the vocabulary"),
        ({"embedding_ratio": 0.9}, "too little for 2 layers", "lower the share"),
        ({"vocab_size": 4_000}, "too little for 2 layers", "raise the vocabulary"),
        ({"embedding_ratio": 0.05}, "more parameters than 32 layers", "raise the share"),
        ({"n_heads": 500}, "500 heads of size 2", "take at most 452 heads"),
        ({"glu_expansion": 0.001}, "no whole d_ff is", "take another expansion"),
        (
            {"target_parameters": 192_405, "embedding_ratio": 0.79},
            "there is no whole width between 9.33 and 9.67",
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
    rng = np.random.default_rng(20_26)
    specs = [random_spec(rng) for _ in range(60)]
    refused = [spec for spec in specs if search(spec) is None][:12]
    assert len(refused) == 12
    for spec in refused:
        nearest = nearest_feasible(spec)
        assert nearest is not None
        cost_of(nearest, solve(nearest))
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
