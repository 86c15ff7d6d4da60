"""Whether to compile a training run, and compiling it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from model.cost import training_flops_per_token
from model.machine import compiler_found
from model.spec import ModelConfig
from model.transformer import Transformer

logger = logging.getLogger(__name__)

MODES = ("auto", "on", "off")

BREAK_EVEN_FLOPS_PER_LAYER = 1.8e12
"""Training FLOPs per layer of the model from which compiling pays, with nothing cached.

A cold compilation takes about 2.5 s a layer (28 s for 11 layers), a compiled step saves about
1.4 s in 10¹² FLOPs (0.18 s in a step of 2,048 tokens of a 10M model); measured on two cores with
AVX-512 bf16, torch 2.13. Faster machines both compile and train faster.
"""


def shall_compile(mode: str, config: ModelConfig, *, tokens: int, device: str) -> bool:
    """Whether a run of so many tokens is compiled: `on`, `off`, or `auto` for where it pays.

    Where no compiler is found the answer is no, and a warning says so if `on` was asked for.
    """
    if mode == "off":
        return False
    if mode == "auto" and not compile_pays(config, tokens=tokens):
        return False
    if not compiler_found(device):
        level = logging.WARNING if mode == "on" else logging.INFO
        logger.log(level, "no C++ compiler found for torch.compile; training runs eager")
        return False
    return True


def compile_pays(config: ModelConfig, *, tokens: int) -> bool:
    """Whether a run is longer than the break-even of a cold compilation."""
    flops = tokens * training_flops_per_token(config)
    return flops > BREAK_EVEN_FLOPS_PER_LAYER * config.depth


def compiled_loss(model: Transformer) -> Callable[[Tensor, Tensor], Tensor]:
    """`model.loss` compiled as a whole, for one shape of batch; compiled on its first call.

    What was compiled before in this process is forgotten: a worker trains one model after another,
    and torch.compile keeps only a few versions of a function before it falls back to eager.
    """
    torch.compiler.reset()
    loss: Callable[[Tensor, Tensor], Tensor] = torch.compile(
        model.loss, dynamic=False, fullgraph=True
    )
    return loss
