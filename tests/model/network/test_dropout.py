from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.mup import Scales
from model.network.dropout import ATTENTION, EMBEDDED, dropped
from model.network.random_keys import RANDOM_KEYS, sequence_keys
from model.network.transformer import Transformer
from model.spec import ModelConfig

CONFIG = ModelConfig(
    vocab_size=61, context=16, d_model=24, n_layers=2, n_heads=4, head_dim=6, d_ff=36
)


def build(dropout: float) -> Transformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = replace(CONFIG, dropout=dropout)
        return Transformer(config, scales=Scales.own(config))


def keys(sequences: int, *, step: int = 0) -> dict[str, Tensor]:
    return {RANDOM_KEYS: sequence_keys(seed=0, step=step, sequences=sequences)}


def test_without_keys_as_in_evaluation_nothing_is_dropped() -> None:
    tokens_BT = torch.arange(16)[None]
    assert torch.equal(build(0.5)(tokens_BT), build(0.0)(tokens_BT))
    assert not torch.equal(build(0.5)(tokens_BT, keys(1)), build(0.0)(tokens_BT))
    assert torch.equal(build(0.0)(tokens_BT, keys(1)), build(0.0)(tokens_BT))


def test_the_share_that_is_dropped_and_the_mean_of_what_is_left() -> None:
    context = build(0.2).context(16, keys(64))
    ones_BTD = torch.ones(64, 16, 24)
    left_BTD = dropped(ones_BTD, 0.2, context, use=EMBEDDED)
    assert left_BTD.unique().tolist() == pytest.approx([0, 1.25])
    assert (left_BTD == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert left_BTD.mean().item() == pytest.approx(1, abs=0.01)
    other_BTD = dropped(ones_BTD, 0.2, context, use=ATTENTION)
    assert 0.5 < (left_BTD == other_BTD).float().mean().item() < 0.8
    half_BTD = dropped(ones_BTD.bfloat16(), 0.2, context, use=EMBEDDED)
    assert half_BTD.dtype == torch.bfloat16
    assert torch.equal(half_BTD == 0, left_BTD == 0)


def test_it_is_on_the_embedding_and_on_each_attention_and_feed_forward() -> None:
    """Each alone: with all other outputs at zero, its zeros are in the residual stream."""
    model, tokens_BT = build(0.5), torch.arange(16)[None]
    context = model.context(16, keys(1))
    for name in ("attention.output", "feed_forward.down"):
        block = build(0.5).blocks[0]
        hidden_BTD = torch.zeros(1, 16, 24)
        reached_BTD = block(hidden_BTD + 1, context) - 1
        assert (reached_BTD == 0).float().mean() == pytest.approx(0.25, abs=0.1), name
        with torch.no_grad():
            block.get_submodule(name).weight.zero_()
        reached_BTD = block(hidden_BTD + 1, context) - 1
        assert (reached_BTD == 0).float().mean() == pytest.approx(0.5, abs=0.1), name
    embedded_BTD = dropped(model.embed(tokens_BT, context), 0.5, context, use=EMBEDDED)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.output.weight.zero_()
            block.feed_forward.down.weight.zero_()
    torch.testing.assert_close(
        model.hidden_states(tokens_BT, keys(1)), model.final_norm(embedded_BTD)
    )


def test_micro_batches_drop_what_the_whole_batch_does() -> None:
    model, tokens_BT, extras = build(0.5), torch.arange(32).view(2, 16), keys(2)
    whole_BTV = model(tokens_BT, extras)
    second = {RANDOM_KEYS: extras[RANDOM_KEYS][1:]}
    torch.testing.assert_close(model(tokens_BT[1:], second), whole_BTV[1:])
    assert not torch.allclose(model(tokens_BT, keys(2, step=1)), whole_BTV)
