from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.mup import Scales
from model.network.transformer import Transformer
from model.sizing.budget import solve
from model.sizing.cost import (
    activation_bytes,
    forward_flops_per_token,
    state_bytes,
    training_flops_per_token,
    training_memory_bytes,
)
from model.sizing.counts import count_parameters
from model.spec import ModelConfig, ModelSpec
from tests.model.variants import further_sizes, with_variants

CONFIG = ModelConfig(
    vocab_size=1000, context=8, d_model=16, n_layers=2, n_heads=2, head_dim=6, d_ff=40
)


def test_operations_by_hand() -> None:
    matrices = 2 * (4 * 16 * 12 + 3 * 16 * 40) + 1000 * 16
    # A token sees 1 to 8 positions, 4.5 on average, with 12 entries for scores and 12 for values.
    attention = 2 * 2 * 12 * 4.5
    assert forward_flops_per_token(CONFIG) == 2 * (matrices + attention)
    assert training_flops_per_token(CONFIG) == 6 * (matrices + attention)


def test_a_second_matrix_for_the_head_costs_parameters_but_no_operations() -> None:
    untied = replace(CONFIG, embedding="untied")
    assert forward_flops_per_token(untied) == forward_flops_per_token(CONFIG)
    assert state_bytes(untied) == state_bytes(CONFIG) + 16 * 16_000


@pytest.mark.parametrize(
    "variant",
    [
        {"feed_forward": "swiglu"},
        {"feed_forward": "relu_squared"},
        {"feed_forward": "moe"},
        {"embedding": "factorized"},
        {"embedding": "factorized_untied"},
    ],
    ids=str,
)
def test_operations_of_matrices_are_those_that_torch_counts(
    variant: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # In its place, because torch does not see into an operation of our own.
    monkeypatch.setattr("model.network.moe.grouped_product", product_of_each_group)
    config = with_variants(CONFIG, variant)
    model = Transformer(config, scales=Scales.own(config))
    tokens_BT = torch.zeros(3, config.context, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        features_BTE, weight_VE = model.embeddings.output(model.hidden_states(tokens_BT))
        torch.nn.functional.linear(features_BTE, weight_VE)
    counts = counter.get_flop_counts()["Global"]
    # Attention, one kernel or written out as batched products, counts what it masks too.
    of_attention = ("attention", "bmm")
    products = sum(
        number for op, number in counts.items() if not any(name in str(op) for name in of_attention)
    )
    seen = config.n_layers * config.d_attention * (config.context + 1)
    assert products == tokens_BT.numel() * (forward_flops_per_token(config) - 2 * seen)


def product_of_each_group(rows_SN: Tensor, weight_EMN: Tensor, counts_E: Tensor) -> Tensor:
    pieces = zip(rows_SN.split(counts_E.tolist()), weight_EMN, strict=True)
    return torch.cat([rows @ weight_MN.T for rows, weight_MN in pieces])


def test_state_is_four_fp32_numbers_a_parameter_as_adam_keeps_them() -> None:
    model = Transformer(CONFIG, scales=Scales.own(CONFIG))
    adam = torch.optim.AdamW(model.parameters(), lr=0.1)
    tokens_BT = torch.zeros(1, CONFIG.context, dtype=torch.int64)
    model.loss(tokens_BT, tokens_BT).total.backward()
    adam.step()
    held = 0
    for parameter in model.parameters():
        assert parameter.grad is not None
        moments = [adam.state[parameter][name] for name in ("exp_avg", "exp_avg_sq")]
        held += sum(tensor.nbytes for tensor in (parameter, parameter.grad, *moments))
    assert held == state_bytes(CONFIG) == 16 * count_parameters(CONFIG).total


@pytest.mark.parametrize(
    "variant",
    [
        {"feed_forward": "swiglu"},
        {"feed_forward": "geglu"},
        {"feed_forward": "relu_squared"},
        {"feed_forward": "moe"},
        {"embedding": "factorized"},
    ],
    ids=str,
)
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_the_estimate_of_activations_is_near_what_autograd_keeps(
    variant: dict[str, str], bf16: bool
) -> None:
    further = further_sizes(variant)
    further.pop("embedding_rank", None)  # the share fixes it
    spec = ModelSpec(
        target_parameters=1_000_000,
        vocab_size=2_048,
        embedding_ratio=0.2,
        n_heads=2,
        context=128,
        **variant,  # type: ignore[arg-type]
        **further,
    )
    config = solve(spec)
    model = Transformer(config, scales=Scales.own(config))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    # The tensors are held, so that no two have the same address.
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens_BT = torch.zeros(8, config.context, dtype=torch.int64)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        output_BTD = model.hidden_states(tokens_BT)
    measured = sum(
        tensor.untyped_storage().nbytes()
        for address, tensor in kept.items()
        if address not in weights
    )
    assert output_BTD.requires_grad
    estimate = activation_bytes(config, batch_size=8, bytes_per_activation=2 if bf16 else 4)
    assert estimate == pytest.approx(measured, rel=0.25)


def test_memory_is_state_and_activations_and_grows_with_the_batch() -> None:
    one = training_memory_bytes(CONFIG, batch_size=1, bytes_per_activation=4)
    two = training_memory_bytes(CONFIG, batch_size=2, bytes_per_activation=4)
    step = activation_bytes(CONFIG, batch_size=1, bytes_per_activation=4)
    assert two - one == step
    assert one - step == state_bytes(CONFIG)
    assert training_memory_bytes(CONFIG, batch_size=1, bytes_per_activation=2) < one


def test_recomputed_blocks_keep_their_input_and_one_of_them_all_it_needs() -> None:
    deep = replace(CONFIG, n_layers=12)
    sizes: dict[str, Any] = {"batch_size": 2, "bytes_per_activation": 4}
    kept = activation_bytes(deep, **sizes)
    recomputed = activation_bytes(deep, **sizes, recomputed=True)
    one = activation_bytes(replace(deep, n_layers=1), **sizes)
    assert recomputed - one == 2 * deep.context * 12 * deep.d_model * 4
    assert recomputed < kept / 3
    state = state_bytes(deep)
    assert training_memory_bytes(deep, **sizes, recomputed=True) == state + recomputed
