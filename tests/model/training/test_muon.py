"""Muon against torch's own, and the rule that carries its rate to other sizes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from data.batches import RandomBatches
from model.mup import Scales, complete_p, depth_mup
from model.network.transformer import Transformer
from model.spec import ModelConfig
from model.training.muon import muon_groups
from model.training.optimizers import EPSILON, optimizer_of
from model.training.settings import OPTIMIZERS, TrainingConfig
from model.training.training import Training

CONFIG = ModelConfig(
    vocab_size=61, context=16, d_model=24, n_layers=2, n_heads=2, head_dim=10, d_ff=36
)
SETTINGS = TrainingConfig(
    tokens=64 * 8,
    batch_size=4,
    compile="off",
    precision="fp32",
    optimizer="muon",
    learning_rate=0.01,
    muon_learning_rate=0.05,
    warmup_fraction=0.0,
    gradient_clip=math.inf,
)
BATCHES = RandomBatches(vocab_size=61, context=16, batch_size=4)


def test_it_is_torchs_muon_on_hidden_matrices_and_torchs_adamw_on_the_rest() -> None:
    training = Training(CONFIG, SETTINGS, BATCHES, baseline=CONFIG)
    torch.manual_seed(SETTINGS.seed)
    model = Transformer(CONFIG, scales=training.scales)
    of_embedding = list(model.embeddings.parameters())
    matrices = [one for one in model.blocks.parameters() if one.ndim == 2]
    gains = [one for one in model.parameters() if one.ndim == 1]
    assert len(of_embedding) + len(matrices) + len(gains) == len(list(model.parameters()))
    # One optimiser a parameter, each with the rate that the rules give it.
    below_1 = [math.sqrt(min(1, one.shape[0] / one.shape[1])) for one in matrices]
    muons = [
        torch.optim.Muon([one], lr=0.0, momentum=0.95, weight_decay=0.1 / factor)
        for one, factor in zip(matrices, below_1, strict=True)
    ]
    adams = [
        torch.optim.AdamW(
            [one], lr=0.0, betas=(0.9, 0.95), eps=EPSILON, weight_decay=decay, fused=True
        )
        for one, decay in [(of_embedding[0], 0.1 / 4), *((gain, 0.0) for gain in gains)]
    ]
    for step in range(4):
        result = training.step()
        batch = BATCHES.batch(step)
        inputs, targets = (torch.from_numpy(a.copy()) for a in (batch.inputs_BT, batch.targets_BT))
        model.loss(inputs, targets).total.backward()
        share = result.metrics["learning_rate"] / 0.01
        for muon, factor in zip(muons, below_1, strict=True):
            muon.param_groups[0]["lr"] = 0.05 * share * factor
            muon.step()
        for adam in adams:
            is_embedding = adam.param_groups[0]["params"][0] is of_embedding[0]
            adam.param_groups[0]["lr"] = 0.01 * share * (4 if is_embedding else 1)
            adam.step()
        model.zero_grad()
    for name, weight in model.named_parameters():
        ours = training.model.get_parameter(name)
        torch.testing.assert_close(ours, weight, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("width", [24, 96])
def test_a_step_has_the_spectral_norm_of_rate_times_root_of_outputs_over_inputs(width: int) -> None:
    config = replace(CONFIG, d_model=width, head_dim=width, d_ff=2 * width, n_heads=1)
    settings = replace(
        SETTINGS, parametrization="complete_p"
    )  # from a start of zero, no first step
    training = Training(config, settings, BATCHES, baseline=CONFIG)
    before = {name: one.detach().clone() for name, one in training.model.named_parameters()}
    result = training.step()
    rate = 0.05 * result.metrics["learning_rate"] / 0.01
    for part in ("attention.query", "feed_forward.up", "feed_forward.down"):
        name = f"blocks.0.{part}.weight"
        old, new = before[name], training.model.get_parameter(name).detach()
        step = new - (1 - rate * 0.1) * old
        norm = np.linalg.norm(step.numpy(), ord=2)
        expected = rate * math.sqrt(step.shape[0] / step.shape[1])
        # Newton-Schulz leaves singular values between about 0.7 and 1.2.
        assert 0.7 < norm / expected < 1.3, name


def test_depth_is_in_the_rate_under_depth_mup_alone() -> None:
    deep = replace(CONFIG, n_layers=8)
    for scales, expected in ((complete_p(deep, CONFIG), 1.0), (depth_mup(deep, CONFIG), 0.5)):
        model = Transformer(deep, scales=scales)
        groups = muon_groups(model, learning_rate=3.0, weight_decay=0.1)
        assert max(group["rate"] for group in groups) == pytest.approx(3 * expected)
        for group in groups:
            assert group["rate"] / 3 * group["weight_decay"] == pytest.approx(0.1)


def branches_after(layers: int, parametrization: str) -> float:
    """Root mean square of what all blocks add to the stream after three steps."""
    settings = replace(SETTINGS, tokens=10**6, parametrization=parametrization)
    config = replace(CONFIG, n_layers=layers)
    training = Training(config, settings, BATCHES, baseline=CONFIG)
    for _ in range(3):
        training.step()
    tokens_BT = torch.as_tensor(np.asarray(BATCHES.batch(0).inputs_BT))
    with torch.no_grad():
        context = training.model.context(tokens_BT.shape[1])
        embedded_BTD = hidden_BTD = training.model.embed(tokens_BT, context)
        for block in training.model.blocks:
            hidden_BTD = block(hidden_BTD, context)
        return float((hidden_BTD - embedded_BTD).square().mean().sqrt())


def test_what_muon_does_depends_little_on_the_depth_from_a_start_at_zero() -> None:
    spreads = {}
    for rule in ("complete_p", "complete_p_zero"):
        sizes = [branches_after(layers, rule) for layers in (2, 8)]
        spreads[rule] = max(sizes) / min(sizes)
    assert spreads["complete_p_zero"] < 1.2
    assert spreads["complete_p"] > 1.7, "a random start falls as 1/√depth"


def test_the_usual_parametrization_follows_the_optimizer_and_is_recorded_by_name() -> None:
    assert SETTINGS.parametrization == "complete_p_zero"
    assert TrainingConfig(tokens=1).parametrization == "complete_p"
    told = TrainingConfig(tokens=1, optimizer="muon", parametrization="complete_p")
    assert told.parametrization == "complete_p", "as in cells that were recorded before"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_is_in_one_group(name: str) -> None:
    model = Transformer(CONFIG, scales=Scales.own(CONFIG))
    optimizer = optimizer_of(model, replace(SETTINGS, optimizer=name))
    grouped = [id(one) for group in optimizer.param_groups for one in group["params"]]
    assert sorted(grouped) == sorted(id(one) for one in model.parameters())


def test_impossible_settings_are_refused() -> None:
    for values, message in (
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; it must be one of adamw, muon"),
        ({"muon_learning_rate": 0.0}, "muon_learning_rate is 0.0; it must be positive and finite"),
        ({"muon_momentum": 1.0}, r"muon_momentum is 1.0; it must be in \[0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(SETTINGS, **values)  # type: ignore[arg-type]
