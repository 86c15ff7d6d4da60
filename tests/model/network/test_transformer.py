from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.mup import Scales
from model.network.causal_attention import causal_attention
from model.network.rotary import rotary_table, rotate
from model.network.transformer import Transformer
from model.spec import ModelConfig
from tests.model.variants import EVERY, with_variants

CONFIG = ModelConfig(
    vocab_size=97, context=16, d_model=24, n_layers=3, n_heads=2, head_dim=10, d_ff=36
)


def build(config: ModelConfig = CONFIG) -> Transformer:
    torch.manual_seed(0)
    return Transformer(config, scales=Scales.own(config))


def tokens(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, CONFIG.vocab_size, shape, generator=generator)


@pytest.mark.parametrize("variant", EVERY, ids=str)
def test_gradients_flow_to_every_parameter(variant: dict[str, str]) -> None:
    model = build(with_variants(CONFIG, variant))
    inputs_BT = torch.arange(CONFIG.vocab_size)[None].expand(2, -1)[:, :16]
    model.loss(inputs_BT, tokens(2, 16)).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("variant", EVERY, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_no_token_sees_the_ones_after_it(variant: dict[str, str], training: bool) -> None:
    model = build(with_variants(CONFIG, variant)).train(training)
    tokens_BT = tokens(2, 16)
    changed_BT = tokens_BT.clone()
    changed_BT[0, 9] = (changed_BT[0, 9] + 1) % CONFIG.vocab_size
    before, after = logits(model, tokens_BT), logits(model, changed_BT)
    # A product of other rows may round a row otherwise, and experts take the rows they get.
    rounding = 1e-6 if "moe" in variant.values() else 0.0
    assert (before[0, :9] - after[0, :9]).abs().max() <= rounding
    assert ((before[0, 9:] - after[0, 9:]).abs() > rounding).any(dim=-1).all()
    assert (before[1] - after[1]).abs().max() <= rounding, "another sequence of the batch"


def logits(model: Transformer, tokens_BT: Tensor) -> Tensor:
    """With the same noise each time, if a part draws any."""
    torch.manual_seed(5)
    found: Tensor = model(tokens_BT)
    return found


@pytest.mark.parametrize("name", ["factorized", "factorized_untied"])
def test_a_factorized_embedding_is_the_one_that_its_factors_make(name: str) -> None:
    factorized = build(replace(CONFIG, embedding=name, embedding_rank=7))
    whole = build(replace(CONFIG, embedding="untied"))
    whole.blocks.load_state_dict(factorized.blocks.state_dict())
    ours, theirs = factorized.embeddings, whole.embeddings
    with torch.no_grad():
        theirs.embedding.copy_(ours.embedding @ ours.embedding_projection.T)
        if name == "factorized":
            theirs.head.copy_(theirs.embedding)
        else:
            theirs.head.copy_(ours.head @ ours.head_projection.T)
    torch.testing.assert_close(factorized(tokens(2, 16)), whole(tokens(2, 16)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["factorized", "factorized_untied"])
def test_a_factorized_model_starts_with_the_blocks_and_the_scale_of_a_whole_one(name: str) -> None:
    config = replace(CONFIG, vocab_size=997, d_model=96)
    factorized = build(replace(config, embedding=name, embedding_rank=48))
    whole = build(replace(config, embedding="untied"))
    for ours, theirs in zip(factorized.blocks.parameters(), whole.blocks.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    product = factorized.embeddings.embedding @ factorized.embeddings.embedding_projection.T
    assert product.std().item() == pytest.approx(whole.embeddings.embedding.std().item(), rel=0.05)


def test_the_residual_stream_of_a_factorized_model_is_in_fp32_under_autocast() -> None:
    model = build(replace(CONFIG, embedding="factorized", embedding_rank=7))
    with torch.autocast("cpu", torch.bfloat16):
        assert model.embed(tokens(1, 16), model.context(16)).dtype == torch.float32


def test_rotation_leaves_only_the_distance_in_the_product() -> None:
    cos_TK, sin_TK = rotary_table(16, 10)
    query_K, key_K = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    queries_TK = rotate(query_K.expand(1, 1, 16, 10), cos_TK, sin_TK)[0, 0]
    keys_TK = rotate(key_K.expand(1, 1, 16, 10), cos_TK, sin_TK)[0, 0]
    products_TT = queries_TK @ keys_TK.T
    for distance in range(-15, 16):
        diagonal = products_TT.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert products_TT[0, 1] != pytest.approx(products_TT[0, 2].item())


@pytest.mark.parametrize("length", [1, 7, 64, 300])
def test_attention_written_out_is_scaled_dot_product_attention(length: int) -> None:
    query, key, value = torch.randn(3, 2, 3, length, 10, requires_grad=True)
    ours = causal_attention(query, key, value, scale=0.3)
    theirs = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (query, key, value), upstream),
        torch.autograd.grad(theirs, (query, key, value), upstream),
    )


def test_a_tied_head_is_the_embedding_and_an_untied_one_is_not() -> None:
    tied, untied = build(), build(replace(CONFIG, embedding="untied"))
    hidden_BTD = torch.zeros(1, 1, CONFIG.d_model)
    assert tied.output(hidden_BTD)[1] is next(tied.embeddings.parameters())
    assert len(list(tied.embeddings.parameters())) == 1
    assert len(list(untied.embeddings.parameters())) == 2


def test_the_residual_stream_starts_and_ends_at_the_size_of_one() -> None:
    for n_layers in (1, 24):
        model = build(replace(CONFIG, n_layers=n_layers, d_model=96, head_dim=48, d_ff=256))
        context = model.context(16)
        hidden_BTD = model.embed(tokens(4, 16), context)
        assert hidden_BTD.std().item() == pytest.approx(1, rel=0.1)
        for block in model.blocks:
            hidden_BTD = block(hidden_BTD, context)
        assert 1 < hidden_BTD.std().item() < 1.5


def test_a_model_drawn_from_one_seed_is_one_model() -> None:
    assert torch.equal(build().output(torch.zeros(1))[1], build().output(torch.zeros(1))[1])


def test_an_odd_head_size_is_refused() -> None:
    with pytest.raises(ValueError, match="head_dim is 9"):
        build(replace(CONFIG, head_dim=9))
