"""The mixture of experts against a loop over tokens and experts, and what its router reports."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.evaluation.bits_per_byte import evaluate
from model.mup import Scales
from model.network.blocked_groups import blocked_outer, blocked_product
from model.network.grouped import grouped_product, permuted
from model.network.moe import MixtureOfExperts
from model.network.parameters import initialise
from model.network.transformer import Transformer
from model.parts.feed_forwards import FEED_FORWARDS
from model.spec import ModelConfig
from model.training.settings import TrainingConfig
from model.training.training import Training
from tests.model.network.test_context import Batches

CONFIG = ModelConfig(
    vocab_size=61,
    context=16,
    d_model=24,
    n_layers=2,
    n_heads=2,
    head_dim=10,
    d_ff=20,
    feed_forward="moe",
    n_experts=6,
    top_k=2,
    shared_experts=1,
)
CHOICES = [(6, 2, 0), (6, 2, 1), (6, 1, 0), (4, 4, 2), (1, 1, 0)]


def transformer(config: ModelConfig = CONFIG) -> Transformer:
    torch.manual_seed(0)
    return Transformer(config, scales=Scales.own(config))


def layer_of(experts: int, top_k: int, shared: int) -> tuple[Transformer, MixtureOfExperts]:
    config = replace(CONFIG, n_experts=experts, top_k=top_k, shared_experts=shared)
    model = transformer(config)
    layer = model.blocks[0].feed_forward
    assert isinstance(layer, MixtureOfExperts)
    return model, layer


def by_hand(layer: MixtureOfExperts, hidden_BTD: Tensor, *, shared: int) -> Tensor:
    """A token and an expert at a time."""
    made = []
    for token_D in hidden_BTD.flatten(0, 1):
        probability_E = (layer.router.weight @ token_D).softmax(0)
        chosen = probability_E.argsort(descending=True)[: layer.top_k].tolist()
        norm = sum(probability_E[e] for e in chosen) if layer.top_k > 1 else 1.0
        total_D = torch.zeros_like(token_D)
        for e in chosen:
            gate_DF, up_DF, down_FD = (
                matrices.weight_EMN[e].T for matrices in (layer.gate, layer.up, layer.down)
            )
            inner_F = functional.silu(token_D @ gate_DF) * (token_D @ up_DF)
            total_D = total_D + probability_E[e] / norm * (inner_F @ down_FD)
        if shared:
            assert layer.shared is not None
            inner = functional.silu(layer.shared.gate(token_D)) * layer.shared.up(token_D)
            for part in range(shared):  # each expert is a part of the joint inner width
                of = slice(part * CONFIG.d_ff, (part + 1) * CONFIG.d_ff)
                total_D = total_D + layer.shared.down.weight[:, of] @ inner[of]
        made.append(total_D)
    return torch.stack(made).view_as(hidden_BTD)


@pytest.mark.parametrize(("experts", "top_k", "shared"), CHOICES)
def test_it_is_the_loop_over_tokens_and_experts(experts: int, top_k: int, shared: int) -> None:
    model, layer = layer_of(experts, top_k, shared)
    hidden_BTD = torch.randn(2, 3, CONFIG.d_model, requires_grad=True)
    upstream_BTD = torch.randn_like(hidden_BTD)
    leaves = [hidden_BTD, *layer.parameters()]
    ours = layer(hidden_BTD, model.context(3))
    theirs = by_hand(layer, hidden_BTD, shared=shared)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(ours, leaves, upstream_BTD, materialize_grads=True),
        torch.autograd.grad(theirs, leaves, upstream_BTD, materialize_grads=True),
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("counts", [[3, 0, 4, 1], [0, 8, 0, 0], [0, 0, 0, 8]])
def test_groups_may_be_empty(counts: list[int]) -> None:
    rows_SN = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    weight_EMN = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    counts_E = torch.tensor(counts)

    def product(rows: Tensor, weight: Tensor) -> Tensor:
        return grouped_product(rows, weight, counts_E)

    assert torch.autograd.gradcheck(product, (rows_SN, weight_EMN))
    pieces = zip(rows_SN.split(counts), weight_EMN, strict=True)
    torch.testing.assert_close(
        product(rows_SN, weight_EMN), torch.cat([rows @ one.T for rows, one in pieces])
    )


@pytest.mark.parametrize("counts", [[3, 5, 2], [0, 10, 0], [10, 0, 0], [0, 0, 10], [90, 1, 70]])
def test_blocks_are_the_products_of_their_groups(counts: list[int]) -> None:
    torch.manual_seed(0)
    rows = sum(counts)
    rows_SN, gradient_SM = torch.randn(rows, 6), torch.randn(rows, 4)
    weight_EMN, counts_E = torch.randn(3, 4, 6), torch.tensor(counts)
    of_groups = rows_SN.split(counts)
    products = [one @ weight.T for one, weight in zip(of_groups, weight_EMN, strict=True)]
    torch.testing.assert_close(blocked_product(rows_SN, weight_EMN, counts_E), torch.cat(products))
    outers = [g.T @ one for g, one in zip(gradient_SM.split(counts), of_groups, strict=True)]
    torch.testing.assert_close(blocked_outer(gradient_SM, rows_SN, counts_E), torch.stack(outers))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 8), (13, 5)])
def test_torch_s_grouped_product_is_called_rightly(
    dtype: torch.dtype, inputs: int, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs on CUDA; a CPU has it too, only slower."""
    rows_SN = torch.randn(8, inputs).to(dtype).requires_grad_()
    weight_EMN = torch.randn(3, outputs, inputs).to(dtype).requires_grad_()
    upstream_SM = torch.randn(8, outputs).to(dtype)

    def found() -> tuple[Tensor, ...]:
        product_SM = grouped_product(rows_SN, weight_EMN, torch.tensor([5, 0, 3]))
        gradients = torch.autograd.grad(product_SM, (rows_SN, weight_EMN), upstream_SM)
        return product_SM, *gradients

    loop = found()
    monkeypatch.setattr("model.network.grouped._has_grouped_product", lambda *_: True)
    torch.testing.assert_close(found(), loop)


def test_rows_go_into_another_order_and_back() -> None:
    rows_SN = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    order = torch.randperm(7)
    inverse = order.argsort()
    assert torch.equal(permuted(permuted(rows_SN, order, inverse), inverse, order), rows_SN)
    assert torch.autograd.gradcheck(lambda rows: permuted(rows, order, inverse), rows_SN)


def test_what_the_router_reports_where_all_experts_are_equal() -> None:
    model, layer = layer_of(6, 2, 0)
    with torch.no_grad():
        layer.router.weight.zero_()
    context = model.context(16)
    layer(torch.randn(2, 16, CONFIG.d_model), context)
    output = context.output(torch.zeros(()))
    log = torch.log(torch.tensor(6.0))
    # Divided by the layers, since the pass adds them up.
    assert output.auxiliary_losses["balance_loss"].item() == pytest.approx(0.01 / 2)
    z = output.auxiliary_losses["router_z_loss"].item()
    assert z == pytest.approx(0.001 * log.square().item() / 2)
    assert output.diagnostics["router_entropy"].item() == pytest.approx(log.item())
    # Equal logits: all tokens choose the same two of six experts.
    assert output.diagnostics["expert_load"].item() == pytest.approx(3.0)


def test_the_losses_are_trained_and_their_weights_count() -> None:
    def loads(**weights: float) -> float:
        config = replace(CONFIG, **weights)
        settings = TrainingConfig(tokens=10_000, batch_size=4, compile="off", learning_rate=0.02)
        training = Training(config, settings, Batches(), baseline=config)
        steps = [training.step() for _ in range(12)]
        assert {"balance_loss", "router_z_loss", "router_entropy", "expert_load"} < set(
            steps[-1].metrics
        )
        return steps[-1].metrics["expert_load"]

    assert loads(balance_weight=1.0) < loads(balance_weight=0.0)
    assert transformer(replace(CONFIG, balance_weight=0.0)).blocks[0].feed_forward is not None


def test_every_metric_that_it_reports_is_declared() -> None:
    model = transformer()
    tokens_BT = torch.arange(32).view(2, 16)
    output = model.loss(tokens_BT, tokens_BT)
    declared = set(FEED_FORWARDS["moe"].reports)
    families = {name.rpartition("/")[0] + "/*" for name in output.diagnostics if "/" in name}
    plain = {name for name in output.diagnostics if "/" not in name}
    assert plain | families | set(output.auxiliary_losses) == declared


def test_evaluation_leaves_the_losses_of_the_router_out() -> None:
    model = transformer()
    batch = Batches().batch(0)
    inputs, targets = torch.from_numpy(batch.inputs_BT), torch.from_numpy(batch.targets_BT)
    output = model.loss(inputs, targets)
    assert output.total > output.cross_entropy
    score = evaluate(model, Batches())
    assert score.nats / score.tokens == pytest.approx(output.cross_entropy.item(), rel=1e-5)


def test_experts_start_as_the_hidden_matrices_they_are() -> None:
    _, layer = layer_of(6, 2, 1)
    initialise(layer)
    for matrices, fan_in in ((layer.gate, 24), (layer.up, 24), (layer.down, 20)):
        std = matrices.weight_EMN.std().item()
        assert std == pytest.approx(fan_in**-0.5, rel=0.05)


@pytest.mark.slow
def test_it_is_captured_as_one_graph() -> None:
    model = transformer()
    tokens_BT = torch.arange(32).view(2, 16)
    captured = torch.compile(model.loss, dynamic=False, fullgraph=True, backend="eager")
    for shift in (0, 7):  # other tokens, other groups, the same graph
        ours, theirs = (
            captured(tokens_BT + shift, tokens_BT),
            model.loss(tokens_BT + shift, tokens_BT),
        )
        torch.testing.assert_close(ours.total, theirs.total)
    captured(tokens_BT, tokens_BT).total.backward()
    assert model.blocks[0].feed_forward.gate.weight_EMN.grad is not None
