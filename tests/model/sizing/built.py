"""What a model has when it is built, to compare with what its sizes say."""

from __future__ import annotations

import torch

from model.mup import Scales
from model.network.transformer import Transformer
from model.spec import ModelConfig


def count_built(config: ModelConfig) -> int:
    """Distinct parameters of the model itself, built on the meta device, where it has no data."""
    with torch.device("meta"):
        transformer = Transformer(config, scales=Scales.own(config))
    return sum(parameter.numel() for parameter in transformer.parameters())
