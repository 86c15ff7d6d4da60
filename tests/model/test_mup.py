"""The rule of transfer, and a coordinate check (Yang et al., 2022, "Tensor Programs V", appendix
D): what one update does to the activations of a model must not depend on its width or depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.mup import Scales, complete_p, complete_p_zero, depth_mup, standard, transfer
from model.network.parameters import declared_parameters
from model.network.transformer import Transformer
from model.roles import Role, embedding_matrix, head_matrix, hidden_matrix, vector
from model.spec import ModelConfig
from model.training.optimizers import adamw, parameter_groups, set_learning_rate
from tests.model.variants import with_variants

BASELINE = ModelConfig(
    vocab_size=64, context=32, d_model=32, n_layers=2, n_heads=2, head_dim=16, d_ff=80
)


class Untransferred(Scales):
    """Every parameter of every model learns at the baseline's rate."""

    def rate(self, role: Role) -> float:
        return 1.0


UNTRANSFERRED = Untransferred(
    residual=1, logits=1, attention_logits=1, block_rate=1, reference_sizes={}
)
SHAPES = [(32, 2), (64, 2), (256, 2), (32, 8), (32, 24), (128, 12)]


def scaled(d_model: int, n_layers: int) -> ModelConfig:
    return replace(
        BASELINE, d_model=d_model, n_layers=n_layers, head_dim=d_model // 2, d_ff=d_model * 5 // 2
    )


def effect_of_an_update(config: ModelConfig, scales: Scales) -> tuple[float, float]:
    """Root mean square change of the residual stream's end and of the logits."""
    torch.manual_seed(0)
    model = Transformer(config, scales=scales)
    optimizer = adamw(model, betas=(0.9, 0.95), weight_decay=0)
    set_learning_rate(optimizer, 1e-3)
    tokens = torch.randint(0, config.vocab_size, (4, 33))
    inputs_BT, targets_BT = tokens[:, :-1], tokens[:, 1:]

    @torch.no_grad()
    def activations() -> tuple[Tensor, Tensor]:
        context = model.context(inputs_BT.shape[1])
        hidden_BTD = model.embed(inputs_BT, context)
        for block in model.blocks:
            hidden_BTD = block(hidden_BTD, context)
        features_BTE, weight_VE = model.output(model.final_norm(hidden_BTD))
        return hidden_BTD, features_BTE @ weight_VE.T

    before = activations()
    model.loss(inputs_BT, targets_BT).total.backward()
    optimizer.step()
    hidden, logits = (
        (b - a).square().mean().sqrt().item() for a, b in zip(before, activations(), strict=True)
    )
    return hidden, logits


@pytest.mark.parametrize("rule", [complete_p, depth_mup])
def test_an_update_does_the_same_at_every_width_and_depth(
    rule: Callable[[ModelConfig, ModelConfig], Scales],
) -> None:
    effects = [
        effect_of_an_update(scaled(*shape), rule(scaled(*shape), BASELINE)) for shape in SHAPES
    ]
    for of_all_shapes, spread in zip(zip(*effects, strict=True), (2.0, 2.5), strict=True):
        assert max(of_all_shapes) < spread * min(of_all_shapes), of_all_shapes


@pytest.mark.parametrize("embedding", ["factorized", "factorized_untied"])
def test_an_update_does_the_same_at_every_rank(embedding: str) -> None:
    configs = [
        replace(scaled(d_model, 2), embedding=embedding, embedding_rank=rank)
        for d_model, rank in ((64, 16), (160, 16), (160, 96))
    ]
    effects = [effect_of_an_update(config, complete_p(config, BASELINE)) for config in configs]
    for of_all_shapes, spread in zip(zip(*effects, strict=True), (1.5, 2.5), strict=True):
        assert max(of_all_shapes) < spread * min(of_all_shapes), of_all_shapes


def test_an_update_does_the_same_at_every_width_of_the_experts() -> None:
    experts = {"feed_forward": "moe", "n_experts": 4, "top_k": 2}
    configs = [
        replace(scaled(d_model, 2), d_ff=d_ff, **experts)  # type: ignore[arg-type]
        for d_model, d_ff in ((64, 40), (160, 100), (160, 400))
    ]
    effects = [effect_of_an_update(config, complete_p(config, BASELINE)) for config in configs]
    for of_all_shapes, spread in zip(zip(*effects, strict=True), (1.5, 2.5), strict=True):
        assert max(of_all_shapes) < spread * min(of_all_shapes), of_all_shapes


def test_without_the_rule_it_does_not() -> None:
    effects = [effect_of_an_update(scaled(*shape), UNTRANSFERRED) for shape in SHAPES]
    for of_all_shapes in zip(*effects, strict=True):
        assert max(of_all_shapes) > 10 * min(of_all_shapes), of_all_shapes


def test_the_reference_learns_at_its_own_rate() -> None:
    scales = depth_mup(BASELINE, BASELINE)
    assert scales == Scales.own(BASELINE)
    assert (scales.residual, scales.logits, scales.attention_logits) == (0.5, 1, 1)
    groups = parameter_groups(Transformer(BASELINE, scales=Scales.own(BASELINE)), weight_decay=0.1)
    assert {group["rate"] for group in groups} == {1.0}
    reference = replace(BASELINE, d_model=80, d_ff=216, head_dim=40, n_layers=8)
    for baseline in (BASELINE, reference):
        assert complete_p(reference, baseline) == Scales.own(reference)


def test_an_unknown_parametrization_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown parametrization 'mup'; expected one of comp"):
        transfer(BASELINE, baseline=BASELINE, parametrization="mup")


def test_in_complete_p_branches_shrink_with_the_depth_and_rates_do_not() -> None:
    config = replace(BASELINE, d_model=160, head_dim=40, n_layers=32)
    scales = complete_p(config, BASELINE)
    assert scales.residual == 1 / 16  # 1/√(2·8), times 8 layers / 32 layers
    assert (scales.logits, scales.attention_logits, scales.block_rate) == (1 / 2, 1, 1)
    assert scales.rate(hidden_matrix(reads="d_model", fan_in=160)) == 1 / 2
    assert scales.rate(vector(in_block=True, start=1.0)) == 1


def test_each_parameter_learns_by_what_it_reads_and_where_it_stands() -> None:
    config = replace(BASELINE, d_model=64, n_heads=4, head_dim=24, d_ff=320, n_layers=8)
    scales = depth_mup(config, BASELINE)
    assert scales.logits == 1 / 2
    assert scales.residual == 1 / 4
    assert scales.attention_logits == pytest.approx((16 / 24) ** 0.5)
    # fan-in of the baseline / fan-in, times √(depth of the baseline / depth) = 1/2
    assert scales.rate(hidden_matrix(reads="d_model", fan_in=64)) == 32 / 64 / 2
    assert scales.rate(hidden_matrix(reads="d_attention", fan_in=96)) == pytest.approx(1 / 6)
    assert scales.rate(hidden_matrix(reads="d_ff", fan_in=320)) == 80 / 320 / 2
    assert scales.rate(hidden_matrix(reads="d_ff", fan_in=20)) == 80 / 20 / 2
    assert scales.rate(hidden_matrix(reads="d_model", fan_in=64, in_block=False)) == 32 / 64
    assert scales.rate(vector(in_block=True, start=1.0)) == 1 / 2
    assert scales.rate(vector(in_block=False, start=1.0)) == 1
    assert scales.rate(embedding_matrix(std=0.1)) == scales.rate(head_matrix(std=0.1)) == 1


def test_every_parameter_is_in_a_group_with_its_own_rate_and_decay() -> None:
    config = replace(BASELINE, d_model=64, d_ff=320, n_layers=8)
    model = Transformer(config, scales=depth_mup(config, BASELINE))
    group_of = {
        id(parameter): group
        for group in parameter_groups(model, weight_decay=0.1)
        for parameter in group["params"]
    }
    assert len(group_of) == len(list(model.parameters()))
    block = model.blocks[0]
    expected = {
        model.embeddings.embedding: (1.0, 0.1),
        block.attention.query.weight: (1 / 4, 0.4),
        block.attention.output.weight: (1 / 2, 0.2),
        block.feed_forward.down.weight: (1 / 8, 0.8),
        block.attention_norm.weight: (1 / 2, 0.0),
        model.final_norm.weight: (1.0, 0.0),
    }
    for parameter, (rate, decay) in expected.items():
        group = group_of[id(parameter)]
        assert (group["rate"], group["weight_decay"]) == (rate, decay)
    for group in group_of.values():
        # AdamW multiplies rate and decay: the product is that of the baseline.
        assert group["rate"] * group["weight_decay"] in (0.0, pytest.approx(0.1))


@pytest.mark.parametrize("embedding", ["tied", "untied"])
def test_embedding_and_head_may_learn_at_a_rate_of_their_own(embedding: str) -> None:
    config = replace(BASELINE, embedding=embedding)
    model = Transformer(config, scales=Scales.own(config))
    outside = {id(parameter) for parameter in model.embeddings.parameters()}
    for group in parameter_groups(model, weight_decay=0.1, embedding_rate=4.0):
        for parameter in group["params"]:
            assert group["rate"] == (4.0 if id(parameter) in outside else 1.0)
        assert group["rate"] * group["weight_decay"] in (0.0, pytest.approx(0.1))


def test_the_learning_rate_is_given_to_groups_by_their_rate() -> None:
    config = replace(BASELINE, d_model=64)
    model = Transformer(config, scales=depth_mup(config, BASELINE))
    optimizer = adamw(model, betas=(0.9, 0.95), weight_decay=0.1)
    set_learning_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5, 0.25}


@pytest.mark.parametrize("feed_forward", ["swiglu", "polyglu", "moe"])
def test_the_standard_parametrization_is_gpt_2s(feed_forward: str) -> None:
    """Normal(0, 0.02), what writes into the stream smaller by √(2·layers); one rate for all."""
    config = with_variants(
        replace(BASELINE, n_layers=8, d_model=64), {"feed_forward": feed_forward}
    )
    torch.manual_seed(0)
    scales = standard(config, BASELINE)
    model = Transformer(config, scales=scales)
    groups = parameter_groups(model, weight_decay=0.1)
    assert {group["rate"] for group in groups} == {1.0}
    written = 0
    for name, parameter in model.named_parameters():
        if parameter.numel() < 500 or parameter.std() == 0:
            continue
        last = name.split(".")[3:4] and name.split(".")[-2] in ("output", "down")
        written += bool(last)
        expected = 0.02 / 4 if last else 0.02
        assert parameter.std().item() == pytest.approx(expected, rel=0.15), name
    assert written >= 2 * config.n_layers
    tokens_BT = torch.randint(0, config.vocab_size, (2, 8))
    embedded = model.embed(tokens_BT, model.context(8))
    assert torch.equal(embedded, model.embeddings.embedding[tokens_BT]), "as it is"


@pytest.mark.parametrize("feed_forward", ["swiglu", "relu", "polyglu", "moe"])
def test_from_a_start_at_zero_blocks_add_nothing_and_all_else_is_complete_p(
    feed_forward: str,
) -> None:
    config = with_variants(BASELINE, {"feed_forward": feed_forward})
    models = []
    for rule in (complete_p, complete_p_zero):
        torch.manual_seed(0)
        models.append(Transformer(config, scales=rule(config, BASELINE)))
    random, zero = models
    starts = {declared.name: declared for declared in declared_parameters(zero)}
    for name, parameter in random.named_parameters():
        if starts[name].role.writes_stream:
            assert not starts[name].parameter.any(), name
        else:
            assert torch.equal(starts[name].parameter, parameter), name
    tokens_BT = torch.randint(0, config.vocab_size, (2, 8))
    context = zero.context(8)
    embedded_BTD = hidden_BTD = zero.embed(tokens_BT, context)
    for block in zero.blocks:
        hidden_BTD = block(hidden_BTD, context)
    assert torch.equal(hidden_BTD, embedded_BTD)
    assert replace(zero.scales, zero_start=False) == random.scales


def test_scales_of_before_a_rule_are_written_as_ever() -> None:
    assert {"standard", "zero_start"}.isdisjoint(Scales.own(BASELINE).values())
    for rule in (standard, complete_p_zero):
        scales = rule(BASELINE, BASELINE)
        assert Scales.from_values(scales.values()) == scales
