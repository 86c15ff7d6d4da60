"""Products in FP8: the linear layers of the blocks in training, by torchao's float8 training.

Each factor of a product is divided by a scale that its largest value sets, one for the tensor, and
rounded: activations and weights to E4M3, gradients to E5M2 (Micikevicius et al., 2022, "FP8 formats
for deep learning", arXiv 2209.05433). Sums are in fp32, results in bf16. Weights, their gradients
and the optimiser stay in fp32, and everything else in training is as it is in bf16: embedding and
head, norms, the attention of positions to each other, matrices of experts, what chooses experts.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from model.network.projection import Projection
from model.network.transformer import Transformer

logger = logging.getLogger(__name__)

MULTIPLE = 16
"""That both sizes of a layer have to be of: the GPU's FP8 products know no others."""


@dataclass(frozen=True, kw_only=True)
class Fp8Layers:
    """Which linear layers of the blocks are multiplied in FP8, by their names in the model."""

    converted: tuple[str, ...]
    kept: Mapping[str, tuple[int, int]]
    """Those that stay in bf16, with their inputs and outputs."""
    share: float
    """Of the blocks' parameters, how many are in FP8."""

    def __str__(self) -> str:
        count = len(self.converted) + len(self.kept)
        said = (
            f"{len(self.converted)} of the {count} linear layers of the blocks are multiplied in "
            f"FP8, with {self.share:.0%} of the blocks' parameters"
        )
        if not self.kept:
            return said
        name, (inputs, outputs) = next(iter(self.kept.items()))
        return (
            f"{said}; {len(self.kept)} stay in bf16, because a size is not a multiple of "
            f"{MULTIPLE}, the first of them {name}, {inputs} → {outputs}"
        )


def fp8_layers(model: Transformer) -> Fp8Layers:
    """The layers of a model, built on any device, that FP8 is for."""
    converted, kept, parameters = [], {}, 0
    for name, layer in model.named_modules():
        if not isinstance(layer, Projection) or layer.decides:
            continue
        sizes = layer.in_features, layer.out_features
        if any(size % MULTIPLE for size in sizes):
            kept[name] = sizes
        else:
            converted.append(name)
            parameters += layer.weight.numel()
    of_blocks = sum(parameter.numel() for parameter in model.blocks.parameters())
    return Fp8Layers(converted=tuple(converted), kept=kept, share=parameters / of_blocks)


def in_fp8(model: Transformer, *, emulated: bool = False) -> Transformer:
    """A model of the same parameters and buffers whose `loss` multiplies in FP8.

    `model` itself stays as it is, to be evaluated, saved and given to an optimiser. Says in the log
    which layers are in FP8; warns if none is.

    Args:
        model: on its device already, which has to have FP8 products unless they are emulated.
        emulated: factors are rounded to FP8 and multiplied in fp32, on any device: for tests.
    """
    # Imported here: it takes seconds, which no other training should pay.
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training  # noqa: PLC0415

    layers = fp8_layers(model)
    logger.log(logging.INFO if layers.converted else logging.WARNING, "%s", layers)
    shared: dict[int, object] = {id(t): t for t in chain(model.parameters(), model.buffers())}
    twin = copy.deepcopy(model, shared)
    chosen = set(layers.converted)
    # The gradient of a weight is a sum over positions, of which there may be any number.
    config = Float8LinearConfig(pad_inner_dim=True, emulate=emulated)
    convert_to_float8_training(twin, module_filter_fn=lambda _, name: name in chosen, config=config)
    if emulated:
        for name in chosen:
            twin.get_submodule(name).register_forward_pre_hook(_in_autocast_s_precision)
    return twin


def _in_autocast_s_precision(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """The inputs as autocast would give them; torchao asks CUDA's alone."""
    device = inputs[0].device.type
    if not torch.is_autocast_enabled(device):
        return inputs
    return (inputs[0].to(torch.get_autocast_dtype(device)),)
