"""Layers that read the same inputs, one by one and in one product."""

from __future__ import annotations

import torch

from model.network.projection import Projection, in_one_product, projected
from model.spec import ModelConfig

CONFIG = ModelConfig(
    vocab_size=61, context=16, d_model=24, n_layers=2, n_heads=4, head_dim=6, d_ff=36
)


def test_one_product_gives_what_each_layer_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [
        Projection(CONFIG, reads="d_model", writes=writes) for writes in ("d_attention", "d_kv", 7)
    ]
    weights = [layer.weight for layer in layers]
    hidden_BTD = torch.randn(2, 5, 24, generator=generator, requires_grad=True)
    together, apart = in_one_product(hidden_BTD, *layers), projected(hidden_BTD, *layers)
    assert [made.shape[-1] for made in together] == [24, 24, 7]
    upstream = [torch.randn(made.shape, generator=generator) for made in apart]
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(
        torch.autograd.grad(together, [hidden_BTD, *weights], upstream),
        torch.autograd.grad(apart, [hidden_BTD, *weights], upstream),
    )


def test_on_a_cpu_each_layer_is_called_by_itself() -> None:
    """Cells that were trained before have the same bits."""
    layers = [Projection(CONFIG, reads="d_model", writes="d_ff") for _ in range(2)]
    hidden_BTD = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    for made, layer in zip(projected(hidden_BTD, *layers), layers, strict=True):
        assert torch.equal(made, layer(hidden_BTD))
