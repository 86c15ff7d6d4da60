"""Decides whether to compile a training run, and compiles it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from model.network.context import LossOutput
from model.network.transformer import Transformer
from model.sizing.cost import training_flops_per_token
from model.spec import ModelConfig
from model.training.hardware import compiler_found, compiler_name, kind_of

logger = logging.getLogger(__name__)

COMPILE_SECONDS = 12.0
COMPILE_SECONDS_PER_LAYER = 1.5
"""What a cold compilation takes, forward and backward; 22 to 28 s were measured at 11 layers."""

SAVED_SECONDS_PER_FLOP = 0.5e-12
"""What compiling saves; 0.43 and 0.57 s in 10¹² training FLOPs were measured at 10M parameters with
4 and 11 layers.

All on two cores with AVX-512 bf16 and torch 2.13; faster machines both compile and train faster.
"""

REMEDY = "Install a C++ compiler and Python's headers, or set compile=off"


class CompilationError(RuntimeError):
    """compile is 'on', and torch.compile failed. The message is one line and names the cause."""


def should_compile(mode: str, config: ModelConfig, *, tokens: int, device: str) -> bool:
    """Whether to compile a run of `tokens` tokens; `auto` compiles where it pays.

    If `auto` would compile but finds no compiler, the answer is no, with a warning. Raises
    CompilationError if `on` finds none.
    """
    if mode == "off":
        return False
    if mode == "auto" and not (
        kind_of(device).COMPILES_BY_ITSELF and compile_pays(config, tokens=tokens)
    ):
        return False
    if not compiler_found(device):
        name = compiler_name(device)
        if mode == "on":
            raise CompilationError(f"compile is 'on', but there is no {name}; {REMEDY}")
        logger.warning("torch.compile finds no %s; training runs eager. %s", name, REMEDY)
        return False
    return True


def compile_pays(config: ModelConfig, *, tokens: int) -> bool:
    """Whether compiling saves a run of `tokens` tokens more time than a cold compilation takes.

    A function of the sizes alone, never of the clock, so that a resumed run decides the same.
    """
    saved = tokens * training_flops_per_token(config) * SAVED_SECONDS_PER_FLOP
    return saved > COMPILE_SECONDS + COMPILE_SECONDS_PER_LAYER * config.n_layers


def compiled_loss(model: Transformer) -> Callable[..., LossOutput]:
    """`model.loss`, to be compiled as a whole on its first call, for one shape of batch.

    Resets torch.compile first: a worker trains one model after another, and after a few versions of
    a function torch.compile falls back to eager.
    """
    torch.compiler.reset()
    loss: Callable[..., LossOutput] = torch.compile(model.loss, dynamic=False, fullgraph=True)
    return loss


def cause_of(error: BaseException) -> str:
    """Why torch.compile failed, in one line.

    Its exceptions wrap each other and end in advice on debugging; the compiler's own message is in
    the innermost one, after the command line.
    """
    innermost = error
    while inner := getattr(innermost, "inner_exception", None) or innermost.__cause__:
        innermost = inner
    lines = [line.strip() for line in str(innermost).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    if "Output:" in lines and (said := lines[lines.index("Output:") + 1 :]):
        text += ": " + next((line for line in said if "error" in line), said[0])
    return f"{type(innermost).__name__}: {text}" if text else type(innermost).__name__
