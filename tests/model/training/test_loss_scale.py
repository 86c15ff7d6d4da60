"""Training in fp16: the loss is scaled, and steps whose gradients overflow are skipped.

On the CPU, whose fp16 is slow and has the same range as a GPU's.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from model.training import loss_scale
from model.training.hardware import Cpu
from model.training.loss_scale import FIRST_SCALE, LEAST_SCALE, LossScale
from model.training.muon import parts_of
from model.training.training import Training
from tests.model.training.test_training import MUON, SETTINGS, start, stored, train

FP16 = replace(SETTINGS, precision="fp16")
TOO_LARGE = 2.0**40
"""At this scale gradients of any model overflow."""


@pytest.fixture(autouse=True)
def fp16_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cpu, "multiplies_fp16", lambda self, device: True)


def at_scale(scale: float, training: Training) -> Training:
    state = training.state_dict()
    state["loss_scale"]["scale"] = torch.tensor(scale)
    training.load_state_dict(state)
    return training


def numbers(value: Any) -> list[bytes]:
    """The tensors of a state, to the last bit."""
    if isinstance(value, torch.Tensor):
        return [value.numpy().tobytes()]
    if isinstance(value, dict):
        value = list(value.values())
    return [one for part in value for one in numbers(part)] if isinstance(value, list) else []


def flat(value: Any) -> list[bytes]:
    """Everything in a state, to the last bit."""
    if isinstance(value, torch.Tensor):
        return [value.numpy().tobytes()]
    if isinstance(value, dict):
        return [part for key, item in value.items() for part in (repr(key).encode(), *flat(item))]
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in flat(item)]
    return [repr(value).encode()]


def test_it_moves_as_torchs_scaler_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "STEPS_TO_GROW", 3)
    theirs = torch.amp.GradScaler("cpu", init_scale=FIRST_SCALE, growth_interval=3)
    ours = LossScale("cpu")
    weight = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    overflows = torch.rand(60, generator=torch.Generator().manual_seed(0)) < 0.2
    for overflow in overflows:
        theirs.scale(torch.ones(()))
        weight.grad = torch.tensor(math.inf if overflow else 1.0)
        theirs.step(optimizer)
        theirs.update()
        ours.follow(overflow.float())
        assert ours.state_dict()["scale"] == theirs.get_scale()
        assert ours.state_dict()["steps"] == theirs.state_dict()["_growth_tracker"]
    assert {one.dtype for one in ours.state_dict().values()} == {torch.float32, torch.int32}


def test_an_overflow_at_the_least_scale_is_divergence() -> None:
    scale = LossScale("cpu")
    skipped = [scale.follow(torch.ones(()))["skipped_steps"].item() for _ in range(18)]
    assert skipped == [1.0] * 16 + [0.0] * 2, "2^16 is halved sixteen times"
    assert scale.state_dict()["scale"] == LEAST_SCALE


def test_it_trains_as_in_fp32() -> None:
    settings = replace(FP16, learning_rate=2e-3)
    in_fp32 = train(start(replace(settings, precision="fp32")))
    for ours, exact in zip(train(start(settings)), in_fp32, strict=True):
        assert ours.loss == pytest.approx(exact.loss, rel=2e-3)
        norm = exact.metrics["gradient_norm"]
        assert ours.metrics["gradient_norm"] == pytest.approx(norm, rel=5e-3)
        assert (ours.metrics["loss_scale"], ours.metrics["skipped_steps"]) == (FIRST_SCALE, 0.0)


@pytest.mark.parametrize("settings", [FP16, replace(MUON, precision="fp16")], ids=["adamw", "muon"])
def test_an_overflow_skips_the_step_and_halves_the_scale(settings: Any) -> None:
    training = start(settings)
    train(training, steps=2)
    before = stored(at_scale(TOO_LARGE, training).state_dict())
    result = training.step()
    after = stored(training.state_dict())
    assert result.skipped and math.isfinite(result.checked_loss)
    assert "gradient_norm" not in result.metrics
    assert result.metrics["loss_scale"] == TOO_LARGE
    assert after["loss_scale"]["scale"] == TOO_LARGE / 2
    for part in ("model", "optimizer"):
        assert numbers(after[part]) == numbers(before[part])
    assert after["tokens"] > before["tokens"], "the batch is passed"
    assert not at_scale(FIRST_SCALE, training).step().skipped
    assert numbers(training.state_dict()["model"]) != numbers(after["model"])


def test_gradients_are_clipped_as_they_are_without_the_scale() -> None:
    clipped = replace(FP16, gradient_clip=1e-3)
    large, small = (at_scale(scale, start(clipped)) for scale in (2.0**14, 2.0**6))
    one, other = large.step().metrics, small.step().metrics
    assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-3)
    moments = [
        torch.cat(
            [
                state["exp_avg"].flatten()
                for state in parts_of(training._optimizer)[0].state.values()
            ]
        )
        for training in (large, small)
    ]
    norms = [moment.norm().item() / (1 - clipped.betas[0]) for moment in moments]
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-2)
    torch.testing.assert_close(moments[0], moments[1], rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("settings", [FP16, replace(MUON, precision="fp16")], ids=["adamw", "muon"])
@pytest.mark.parametrize("stop", [1, 5, 9])
def test_stopped_and_resumed_it_is_the_same_run_byte_for_byte(
    settings: Any, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It overflows at first, and grows later.
    monkeypatch.setattr(loss_scale, "FIRST_SCALE", 2.0**24)
    monkeypatch.setattr(loss_scale, "STEPS_TO_GROW", 3)
    undisturbed = start(settings)
    expected = train(undisturbed)
    scales = [result.metrics["loss_scale"] for result in expected]
    assert {result.skipped for result in expected} == {True, False}
    assert any(after > before for before, after in itertools.pairwise(scales))
    first, second = start(settings), start(settings)
    before = train(first, steps=stop)
    second.load_state_dict(stored(first.state_dict()))
    assert before + train(second, steps=len(expected) - stop) == expected
    assert flat(stored(second.state_dict())) == flat(stored(undisturbed.state_dict()))


def test_a_state_that_another_machine_took_in_fp32_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Cpu, "multiplies_bf16", lambda self, device: False)
    monkeypatch.setattr(Cpu, "multiplies_fp16", lambda self, device: False)
    state = start().state_dict()
    assert "loss_scale" not in state
    monkeypatch.setattr(Cpu, "multiplies_fp16", lambda self, device: True)
    training = start()
    training.load_state_dict(state)
    assert "precision: fp32 → fp16" in caplog.text
    assert training.step().metrics["loss_scale"] == FIRST_SCALE


def test_a_loss_that_is_not_finite_is_divergence_whatever_the_scale() -> None:
    training = at_scale(LEAST_SCALE, start(FP16))
    with torch.no_grad():
        next(training.model.parameters()).fill_(math.nan)
    result = training.step()
    assert not result.skipped and math.isnan(result.checked_loss)
