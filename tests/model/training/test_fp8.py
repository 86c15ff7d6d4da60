"""Products in FP8, emulated on a CPU: what is rounded, what that costs, and where it is refused."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.spec import ModelConfig
from model.training.hardware import precision_on
from model.training.settings import TrainingConfig
from model.training.shards.sharded import ShardedTraining
from model.training.training import Training
from tests.loaded import loaded_by
from tests.model.training.test_training import stored
from tests.model.variants import with_variants

CONFIG = ModelConfig(
    vocab_size=256, context=32, d_model=48, n_layers=2, n_heads=2, head_dim=24, d_ff=128
)
BATCH, STEPS = 8, 60
SETTINGS = TrainingConfig(
    tokens=STEPS * BATCH * CONFIG.context,
    batch_size=BATCH,
    compile="off",
    precision="fp8",
)
A_BLOCK = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.output",
    "feed_forward.gate",
    "feed_forward.up",
    "feed_forward.down",
)
LOGGER = "model.training.fp8"


@dataclass(frozen=True, kw_only=True)
class Bytes:
    inputs_BT: NDArray[np.int64]
    targets_BT: NDArray[np.int64]
    mask_BT: None = None
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class SourceText:
    """The bytes of a module of the standard library, in order and around."""

    def __init__(self) -> None:
        self._text = np.frombuffer(Path(argparse.__file__).read_bytes(), dtype=np.uint8)

    def batch(self, step: int) -> Bytes:
        first = (step * BATCH + np.arange(BATCH)[:, None]) * CONFIG.context
        places = (first + np.arange(CONFIG.context + 1)) % len(self._text)
        tokens = self._text[places].astype(np.int64)
        return Bytes(inputs_BT=tokens[:, :-1], targets_BT=tokens[:, 1:])


@pytest.fixture
def fast_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets bf16 be trained on any processor: without instructions for it, it is slow."""
    monkeypatch.setattr("model.training.hardware.bf16_is_fast", lambda device: True)


def start(config: ModelConfig = CONFIG, **settings: Any) -> Training:
    return Training(
        config, replace(SETTINGS, **settings), SourceText(), baseline=config, emulate_fp8=True
    )


def in_fp8(training: Training) -> list[str]:
    return [
        name
        for name, module in training._trained.named_modules()
        if type(module).__name__ == "Float8Linear"
    ]


def test_linear_layers_of_the_blocks_are_in_fp8_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        training = start()
    assert in_fp8(training) == [f"blocks.{layer}.{name}" for layer in (0, 1) for name in A_BLOCK]
    assert "14 of the 14 linear layers" in caplog.text


def test_sizes_that_are_no_multiples_of_16_stay_in_bf16_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        training = start(replace(CONFIG, d_ff=120))
    assert {name.split(".")[2] for name in in_fp8(training)} == {"attention"}
    assert (
        "8 of the 14 linear layers of the blocks are multiplied in FP8, with 35% of the blocks' "
        "parameters; 6 stay in bf16, because a size is not a multiple of 16, the first of them "
        "blocks.0.feed_forward.gate, 48 → 120"
    ) in caplog.text


def test_a_model_without_such_a_layer_trains_in_bf16_with_a_warning(
    caplog: pytest.LogCaptureFixture, fast_bf16: None
) -> None:
    config = replace(CONFIG, d_model=44)
    training, plain = start(config), start(config, precision="bf16")
    assert in_fp8(training) == []
    assert [(one.levelname, one.name) for one in caplog.records] == [("WARNING", LOGGER)]
    assert "0 of the 14 linear layers" in caplog.text
    assert training.step() == plain.step()


@pytest.mark.parametrize("feed_forward", ["moe", "polyglu"])
def test_what_decides_between_parts_is_not_rounded(feed_forward: str) -> None:
    config = with_variants(CONFIG, {"feed_forward": feed_forward})
    if config.n_experts is not None:
        config = replace(config, n_experts=16)
    training = start(config)
    assert in_fp8(training)
    assert not [name for name in in_fp8(training) if "router" in name]
    assert training.step().loss > 0


def test_the_model_itself_stays_as_it_is() -> None:
    training, plain = start(), start(precision="fp32")
    assert list(training.state_dict()["model"]) == list(plain.state_dict()["model"])
    for name, parameter in plain.model.named_parameters():
        assert torch.equal(parameter, training.model.get_parameter(name)), "the same start"
    training.step()
    kinds = {type(module).__name__ for module in training.model.modules()}
    assert "Float8Linear" not in kinds, "evaluation is as exact as ever"
    for name, parameter in training.model.named_parameters():
        assert training._trained.get_parameter(name) is parameter
    assert training._trained.progress is training.model.progress


def test_the_loss_on_real_text_is_within_1_percent_of_bf16(fast_bf16: None) -> None:
    rounded, exact = start(), start(precision="bf16")
    losses = np.array([[one.step().loss for one in (rounded, exact)] for _ in range(STEPS)])
    assert losses[0, 0] != losses[0, 1], "something is rounded"
    assert losses[-10:].mean(0) == pytest.approx([losses[-10:, 1].mean()] * 2, rel=0.01)
    assert losses.mean(0) == pytest.approx([losses[:, 1].mean()] * 2, rel=0.01)
    assert losses[-10:, 1].mean() < 0.4 * losses[0, 1], "something is learnt"


@pytest.mark.parametrize("settings", [{}, {"optimizer": "muon"}], ids=["adamw", "muon"])
def test_stopped_and_resumed_it_is_the_same_run_byte_for_byte(settings: dict[str, Any]) -> None:
    undisturbed = start(**settings)
    losses = [undisturbed.step() for _ in range(6)]
    first = start(**settings)
    before = [first.step() for _ in range(3)]
    second = start(**settings)
    second.load_state_dict(stored(first.state_dict()))
    assert before + [second.step() for _ in range(3)] == losses
    for name, parameter in undisturbed.model.named_parameters():
        assert torch.equal(parameter, second.model.get_parameter(name))


def test_gradient_checkpointing_changes_nothing() -> None:
    kept, recomputed = start(), start(gradient_checkpointing=True)
    assert [kept.step() for _ in range(2)] == [recomputed.step() for _ in range(2)]


def test_a_state_says_how_its_products_were_made() -> None:
    training = start()
    environment = training.environment
    assert (environment["precision"], environment["fp8"]) == ("fp8", "emulated")
    assert environment["torchao"]
    with pytest.raises(ValueError, match="precision: fp8 → fp32"):
        start(precision="fp32").load_state_dict(training.state_dict())


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_what_is_no_gpu_of_nvidia_is_refused(device: str) -> None:
    message = rf"compute capability 8\.9 or more .* but {device} is none; use 'auto'"
    with pytest.raises(ValueError, match=message):
        precision_on(device, "fp8")
    with pytest.raises(ValueError, match="precision is 'fp8'"):
        Training(CONFIG, SETTINGS, SourceText(), baseline=CONFIG)


def test_a_gpu_is_asked_for_its_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    message = r"8\.9 or more .* but cuda:1, NVIDIA A100, has 8\.0; use 'auto'"
    with pytest.raises(ValueError, match=message):
        precision_on("cuda:1", "fp8")
    for capability in ((8, 9), (9, 0), (12, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert precision_on("cuda:1", "fp8").name == "fp8"


def test_several_processes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 processes .* FP8 is for one process: use 'bf16'"):
        ShardedTraining(CONFIG, SETTINGS, SourceText(), baseline=CONFIG, processes=2)


def test_torchao_is_imported_only_when_it_is_needed() -> None:
    assert loaded_by("import model.training.training", "torchao") == []
