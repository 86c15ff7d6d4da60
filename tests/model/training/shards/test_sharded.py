"""Two processes train what one does, in any order of the two, and a failure ends both."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from torch.distributed.tensor import DTensor

from model.spec import ModelConfig
from model.training.compilation import CompilationError
from model.training.opening import open_training
from model.training.settings import TrainingConfig
from model.training.shards.member import uneven
from model.training.shards.sharded import ShardedTraining
from model.training.shards.team import ProcessFailedError, devices_of
from model.training.training import BatchSource, StepResult, Training
from tests.model.training.test_training import (
    BASELINE,
    BATCH,
    CONFIG,
    MUON,
    SETTINGS,
    CountingBatches,
    MaskedBatches,
    start,
    stored,
    train,
)
from tests.model.variants import with_variants

BOUND = 30.0
"""Seconds within which a failure must be told, far below the patience of an exchange."""


@contextmanager
def two(
    settings: TrainingConfig = SETTINGS,
    config: ModelConfig = CONFIG,
    batches: BatchSource | None = None,
) -> Iterator[ShardedTraining]:
    training = open_training(
        config, settings, batches or CountingBatches(), baseline=BASELINE, processes=2
    )
    assert isinstance(training, ShardedTraining)
    try:
        yield training
    finally:
        training.close()


def steps(training: Training | ShardedTraining, count: int) -> list[StepResult]:
    return [training.step() for _ in range(count)]


def assert_same(ours: list[StepResult], theirs: list[StepResult], *, rel: float = 1e-5) -> None:
    assert [step.loss for step in ours] == pytest.approx([step.loss for step in theirs], rel=rel)
    for one, other in zip(ours, theirs, strict=True):
        assert one.tokens == other.tokens
        assert one.metrics == pytest.approx(dict(other.metrics), rel=100 * rel, abs=1e-6)


FP32 = replace(SETTINGS, precision="fp32", learning_rate=5e-3)

# A mask that leaves the second process nothing to score, and the first one less than it has.
MASK = np.zeros((BATCH, CONFIG.context), dtype=bool)
MASK[: BATCH // 2, 3:] = True

SLOW = pytest.mark.slow
"""Processes that import torch take seconds, so one case of a kind is in the usual run."""

CASES = {
    "dropout": (FP32, replace(CONFIG, dropout=0.2), None),
    "recomputed, in parts": (
        replace(FP32, gradient_checkpointing=True, gradient_accumulation=4),
        with_variants(CONFIG, {"embedding": "factorized"}),
        None,
    ),
    "masked, not clipped": (
        replace(FP32, gradient_clip=float("inf")),
        with_variants(CONFIG, {"embedding": "untied"}),
        MaskedBatches(MASK),
    ),
    "experts": (
        replace(FP32, micro_batch_size=BATCH // 2),
        with_variants(CONFIG, {"feed_forward": "moe"}),
        None,
    ),
}


@pytest.mark.parametrize(
    "case", ["experts", *(pytest.param(one, marks=SLOW) for one in CASES if one != "experts")]
)
def test_two_processes_train_what_one_does_and_each_continues_the_other(case: str) -> None:
    settings, config, batches = CASES[case]
    alone = start(settings, config, batches)
    first = train(alone, steps=3)
    state = stored(alone.state_dict())
    rest = train(alone, steps=3)

    with two(settings, config, batches) as together:
        assert_same(steps(together, 3), first)
        of_two = stored(dict(together.state_dict()))
        assert_same(steps(together, 3), rest)
        together.load_state_dict(state)  # 1 → 2
        assert_same(steps(together, 3), rest)
        together.load_state_dict(of_two)
        once = steps(together, 3)
        together.load_state_dict(of_two)
        assert steps(together, 3) == once, "bit for bit with as many processes"

    assert of_two.keys() == state.keys()
    assert {name: one.shape for name, one in of_two["model"].items()} == {
        name: one.shape for name, one in state["model"].items()
    }
    again = start(settings, config, batches)
    again.load_state_dict(of_two)  # 2 → 1
    assert_same(train(again, steps=3), rest)


# The case above does it in halves, tests/tune_app/trial/test_processes.py for a whole trial.
@SLOW
def test_saved_by_one_process_then_two_then_one_the_losses_are_those_of_one_alone() -> None:
    undisturbed = train(start(FP32), steps=6)

    first = start(FP32)
    losses = train(first, steps=2)
    with two(FP32) as second:
        second.load_state_dict(stored(first.state_dict()))
        losses += steps(second, 2)
        state = stored(dict(second.state_dict()))
    third = start(FP32)
    third.load_state_dict(state)
    losses += train(third, steps=2)

    assert third.tokens == 6 * BATCH * CONFIG.context
    assert_same(losses, undisturbed, rel=1e-5)


def assert_not_applied(together: ShardedTraining) -> None:
    """A weight becomes NaN: the step says so, and changes nothing."""
    steps(together, 1)
    weight = together._own.model.final_norm.weight
    assert isinstance(weight, DTensor)
    with torch.no_grad():
        weight.to_local()[0] = math.nan
    before = together.state_dict()["model"]
    (result,) = steps(together, 1)
    assert math.isnan(result.loss)
    after = together.state_dict()["model"]
    for name, weights in before.items():
        torch.testing.assert_close(after[name], weights, rtol=0, atol=0, equal_nan=True)


@SLOW
def test_muon_applies_no_gradient_that_is_not_finite() -> None:
    with two(MUON) as together:
        assert_not_applied(together)


class TestOneTraining:
    """What one pair of processes shows, each time from the same beginning."""

    @pytest.fixture(scope="class")
    def pair(self) -> Iterator[ShardedTraining]:
        with two() as training:
            yield training

    @pytest.fixture
    def together(self, pair: ShardedTraining) -> ShardedTraining:
        pair.load_state_dict(start().state_dict())
        pair._own.read_from(CountingBatches(), None)
        return pair

    def test_in_bf16_a_last_bit_makes_more_of_a_difference(self, together: ShardedTraining) -> None:
        assert SETTINGS.precision == "auto"
        assert_same(steps(together, 4), train(start(), steps=4), rel=1e-4)

    def test_the_model_of_both_is_whole_and_reading_it_changes_nothing(
        self, together: ShardedTraining
    ) -> None:
        alone = start()
        train(alone, steps=2)
        steps(together, 1)
        assert together.model is together.model
        steps(together, 1)
        for name, weights in together.model.state_dict().items():
            torch.testing.assert_close(weights, alone.model.state_dict()[name])
        assert float(together.model.progress) == float(alone.model.progress)
        assert_same(steps(together, 1), train(alone, steps=1))

    def test_what_is_wrong_before_a_step_leaves_the_processes_as_they_were(
        self, together: ShardedTraining
    ) -> None:
        before = steps(together, 1)
        other = start(replace(SETTINGS, learning_rate=0.1)).state_dict()
        with pytest.raises(ValueError, match="belongs to another run"):
            together.load_state_dict(other)
        together._own.read_from(CountingBatches(), lambda step: BATCH - 1)
        with pytest.raises(ValueError, match="batch_size is 7"):
            together.step()
        together._own.read_from(CountingBatches(), None)
        assert_same(before + steps(together, 1), train(start(), steps=2))

    def test_a_gradient_that_is_not_finite_is_reported_and_applied_by_none(
        self, together: ShardedTraining
    ) -> None:
        assert_not_applied(together)


def test_muon_orthogonalises_whole_matrices() -> None:
    alone = start(MUON)
    first = train(alone, steps=1)
    state = stored(alone.state_dict())
    rest = train(alone, steps=2)
    with two(MUON) as together:
        assert_same(steps(together, 1), first)
        of_two = stored(dict(together.state_dict()))
        # Its iterations in bf16 make more of a last bit.
        assert_same(steps(together, 2), rest, rel=1e-4)
        together.load_state_dict(state)
        assert_same(steps(together, 2), rest, rel=1e-4)
    momentum = state["optimizer"]["muon"]["state"][0]["momentum_buffer"]
    ours = of_two["optimizer"]["muon"]["state"][0]["momentum_buffer"]
    torch.testing.assert_close(ours, momentum)


@pytest.mark.parametrize(
    ("sequences", "processes", "told"),
    [
        (2, 4, "4 processes are to train a batch of 2 sequences; take at most 2"),
        (6, 4, "a batch of 6 sequences cannot be cut for 4 processes; take 1, 2, 3, 6"),
    ],
)
def test_a_batch_that_cannot_be_cut_is_refused(sequences: int, processes: int, told: str) -> None:
    assert uneven(sequences, processes).startswith(told)
    assert uneven(8, 4) == ""
    settings = replace(SETTINGS, batch_size=sequences)
    with pytest.raises(ValueError, match=told):
        ShardedTraining(CONFIG, settings, CountingBatches(), baseline=BASELINE, processes=processes)


def test_one_that_is_killed_or_fails_ends_the_training_in_bounded_time() -> None:
    with two() as together:
        steps(together, 1)
        (other,) = together._team._processes
        assert other.pid is not None
        os.kill(other.pid, signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(ProcessFailedError, match=r"process 1 of 2 .* ended by signal 9"):
            together.step()
        assert time.monotonic() - started < BOUND
        with pytest.raises(ProcessFailedError, match="start it anew"):
            together.step()
    with two() as again:
        assert_same(steps(again, 1), train(start(), steps=1))
        started = time.monotonic()
        told = r"process 1 of 2 .* failed: AssertionError: unknown command"
        with pytest.raises(ProcessFailedError, match=told), again._team.watched():
            again._team.tell("nonsense")
            again._own.copy_weights(None)
        assert time.monotonic() - started < BOUND
        assert not any(one.is_alive() for one in again._team._processes)


_LEADER = """
import os, sys, time
from tests.model.training.shards.test_sharded import two
if __name__ == "__main__":
    with two() as together:
        together.step()
        print(together._team._processes[0].pid, flush=True)
        time.sleep(600)
"""


@pytest.mark.slow
def test_the_others_end_when_the_first_one_is_killed() -> None:
    leader = subprocess.Popen([sys.executable, "-c", _LEADER], stdout=subprocess.PIPE, text=True)
    try:
        assert leader.stdout is not None
        other = psutil.Process(int(leader.stdout.readline()))
    finally:
        leader.kill()
        leader.wait()
    other.wait(BOUND)


def test_compiling_is_refused_where_it_was_asked_for() -> None:
    with pytest.raises(CompilationError, match="several processes"):
        open_training(
            CONFIG,
            replace(SETTINGS, compile="on"),
            CountingBatches(),
            baseline=BASELINE,
            processes=2,
        )


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert devices_of("cuda", 2) == ["cuda:0", "cuda:1"]
    assert devices_of("cuda:2", 2) == ["cuda:2", "cuda:3"]
    assert devices_of("cpu", 2) == ["cpu", "cpu"]
    with pytest.raises(ValueError, match="has 4; take at most 2"):
        devices_of("cuda:2", 3)
    with pytest.raises(ValueError, match="on 'mps'"):
        devices_of("mps", 2)
