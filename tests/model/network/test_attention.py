"""Attention against independent references: repeated heads, the paper's rotation, a hand count."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from model.mup import Scales
from model.network import causal_attention as kernels
from model.network.attention import QKNormAttention
from model.network.causal_attention import causal_attention
from model.network.parameters import declared_parameters
from model.network.rotary import rotary_table
from model.network.transformer import Transformer
from model.roles import Kind
from model.spec import ModelConfig

CONFIG = ModelConfig(
    vocab_size=61, context=16, d_model=24, n_layers=2, n_heads=4, head_dim=6, d_ff=36
)


def build(**changes: object) -> Transformer:
    config = replace(CONFIG, **changes)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Transformer(config, scales=Scales.own(config))


@pytest.fixture(params=["products", "blocks", "kernel"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways in which a CPU computes attention: all queries at once, some of them, its kernel."""
    if request.param == "blocks":
        monkeypatch.setattr(kernels, "QUERIES_OF_A_BLOCK", 4)
    if request.param == "kernel":
        monkeypatch.setattr(kernels, "PRODUCTS_UP_TO", 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_fewer_key_value_heads_are_repeated_ones(kv_heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, 9, 6), (2, kv_heads, 9, 6), (2, kv_heads, 9, 6))
    inputs = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    query, key, value = inputs
    ours = causal_attention(query, key, value, scale=0.3)
    # Head by head, by the equation.
    theirs = torch.empty_like(ours)
    for head in range(4):
        shared = head * kv_heads // 4
        logits_BTT = 0.3 * query[:, head] @ key[:, shared].mT
        hidden_TT = torch.ones(9, 9, dtype=torch.bool).triu(1)
        weights_BTT = logits_BTT.masked_fill(hidden_TT, -math.inf).softmax(-1)
        theirs[:, head] = weights_BTT @ value[:, shared]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(ours.shape, generator=generator)
    for one, other in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(theirs, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attention", ["multi_head", "qk_norm"])
def test_a_grouped_model_is_the_one_whose_heads_repeat(attention: str) -> None:
    grouped, repeated = (build(attention=attention, n_kv_heads=n) for n in (2, None))
    weights = grouped.state_dict()
    for name, weight in weights.items():
        if "attention.key.weight" in name or "attention.value.weight" in name:
            heads = weight.view(2, 6, 24).repeat_interleave(2, dim=0)
            weights[name] = heads.flatten(0, 1)
    repeated.load_state_dict(weights)
    tokens_BT = torch.arange(32).view(2, 16)
    torch.testing.assert_close(grouped(tokens_BT), repeated(tokens_BT), rtol=1e-5, atol=1e-5)


def test_the_default_base_is_that_of_the_paper_and_another_one_changes_the_logits() -> None:
    tokens_BT = torch.arange(16)[None]
    assert torch.equal(build().cos_TK, rotary_table(16, 6, base=10_000.0)[0])
    assert not torch.equal(build()(tokens_BT), build(rotary_base=500.0)(tokens_BT))


def test_queries_and_keys_are_normalised_head_by_head() -> None:
    attention = build(attention="qk_norm", n_kv_heads=2).blocks[0].attention
    assert isinstance(attention, QKNormAttention)
    with torch.no_grad():
        attention.query_norm.weight.mul_(torch.arange(1.0, 7.0))
    hidden_BTD = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    query_BHTK, key_BGTK, _ = attention._read(hidden_BTD)
    plain = (hidden_BTD @ attention.query.weight.T).unflatten(-1, (4, 6)).transpose(1, 2)
    expected = plain / (plain.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(query_BHTK, expected * torch.arange(1.0, 7.0), rtol=1e-5, atol=1e-5)
    assert key_BGTK.shape == (2, 2, 5, 6)
    # Scaled weights leave the logits as they are.
    before = attention(hidden_BTD, build().context(5))
    with torch.no_grad():
        attention.key.weight.mul_(7)
    after = attention(hidden_BTD, build().context(5))
    torch.testing.assert_close(after, before, rtol=1e-2, atol=1e-3)


def test_normalising_is_in_fp32_under_autocast() -> None:
    model, tokens_BT = build(attention="qk_norm"), torch.arange(16)[None]
    with torch.autocast("cpu", torch.bfloat16):
        low = model(tokens_BT)
    torch.testing.assert_close(low.float(), model(tokens_BT), rtol=0.1, atol=0.02)


def test_gains_of_the_norms_are_vectors_inside_a_block() -> None:
    roles = {one.name: one.role for one in declared_parameters(build(attention="qk_norm"))}
    role = roles["blocks.0.attention.query_norm.weight"]
    assert (role.kind, role.in_block, role.decays) == (Kind.VECTOR, True, False)
    grouped = {one.name: one.role for one in declared_parameters(build(n_kv_heads=1))}
    key = grouped["blocks.0.attention.key.weight"]
    assert (key.kind, key.reads, key.fan_in) == (Kind.HIDDEN, "d_model", 24)
    assert grouped["blocks.0.attention.output.weight"].fan_in == 24
