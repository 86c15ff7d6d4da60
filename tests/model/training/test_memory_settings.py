"""Settings that trade memory for time: the step that they make is the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.training.settings import TrainingConfig, TrainingSettings, wished_at_once
from tests.model.training.test_training import CONFIG, SETTINGS, start, stored, train
from tests.model.variants import with_variants

WISHED = replace(SETTINGS, gradient_accumulation=4, gradient_checkpointing=True)


@pytest.mark.parametrize("feed_forward", ["swiglu", "polyglu", "moe"])
def test_recomputed_activations_give_the_same_run_bit_for_bit(feed_forward: str) -> None:
    config = with_variants(replace(CONFIG, dropout=0.1), {"feed_forward": feed_forward})
    kept = train(start(config=config), steps=2)
    recomputed = replace(SETTINGS, gradient_checkpointing=True)
    assert train(start(recomputed, config=config), steps=2) == kept


def test_wished_parts_are_micro_batches_of_that_size() -> None:
    wished = train(start(replace(SETTINGS, gradient_accumulation=4)), steps=4)
    assert wished == train(start(replace(SETTINGS, micro_batch_size=2)), steps=4)


@pytest.mark.parametrize("settings", [WISHED, replace(SETTINGS, parametrization="standard")])
def test_resumed_it_is_the_same_run_bit_for_bit(settings: TrainingConfig) -> None:
    undisturbed = train(start(settings), steps=4)
    first = start(settings)
    before = train(first, steps=2)
    second = start(settings)
    second.load_state_dict(stored(first.state_dict()))
    assert before + train(second, steps=2) == undisturbed


def test_memory_that_runs_out_makes_smaller_parts_than_were_wished() -> None:
    assert WISHED.sequences_at_once == 2
    assert replace(WISHED, micro_batch_size=1).sequences_at_once == 1
    assert replace(WISHED, micro_batch_size=4).sequences_at_once == 2
    assert wished_at_once({"batch_size": 8, "gradient_accumulation": 4}) == 2
    assert wished_at_once({"batch_size": 8}) == 8, "a journal of before"


@pytest.mark.parametrize("parts", [0, -1, 3, 32])
def test_a_batch_is_cut_into_equal_parts(parts: int) -> None:
    with pytest.raises(ValueError, match=rf"gradient_accumulation is {parts}; .* divisor .* 16"):
        TrainingSettings(gradient_accumulation=parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        {"feed_forward": "swiglu"},
        {"feed_forward": "polyglu"},
        {"feed_forward": "moe"},
        {"embedding": "factorized"},
    ],
    ids=str,
)
def test_compiled_it_is_the_eager_run(names: dict[str, str]) -> None:
    config = with_variants(CONFIG, names)
    recomputed = replace(SETTINGS, gradient_checkpointing=True)
    compiled = start(replace(recomputed, compile="on"), config=config)
    eager = start(recomputed, config=config)
    for _ in range(2):
        assert compiled.step().loss == pytest.approx(eager.step().loss, rel=1e-5)
