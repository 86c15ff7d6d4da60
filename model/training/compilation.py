"""Decides whether to compile a training run, and says why it could not be compiled."""

from __future__ import annotations

import subprocess

from model.sizing.cost import training_flops_per_token
from model.spec import ModelConfig
from model.training.hardware import CompilingCosts, compiler_found, compiler_name, kind_of

REMEDY = "Install a C++ compiler and Python's headers, or set compile=off"


def remedy_for(cause: str) -> str:
    """What to do about a cause of `cause_of`."""
    if "No space left" in cause or "Disk quota" in cause:
        return "Make room in the folder of temporary files (TMPDIR), or set compile=off"
    if "failed to map segment" in cause:
        return (
            "Set TMPDIR to a folder from which programs may run (this one is mounted noexec), or "
            "set compile=off"
        )
    return REMEDY


class CompilationError(RuntimeError):
    """compile is 'on', and torch.compile failed. The message is one line and names the cause."""


def should_compile(
    mode: str, config: ModelConfig, *, tokens: int, sequences: int, device: str
) -> bool:
    """Whether to compile a run of `tokens` tokens, `sequences` at once; `auto` compiles where it
    pays."""
    if mode != "auto":
        return mode == "on"
    costs = kind_of(device).COMPILING
    return costs is not None and compile_pays(
        config, tokens=tokens, sequences=sequences, costs=costs
    )


def missing_compiler(device: str) -> str:
    """What torch.compile lacks on this machine, and the remedy; empty if it lacks nothing known."""
    if compiler_found(device):
        return ""
    return f"there is no {compiler_name(device)}. {REMEDY}"


def compile_pays(
    config: ModelConfig, *, tokens: int, sequences: int, costs: CompilingCosts
) -> bool:
    """Whether compiling saves a run of `tokens` tokens more time than a cold compilation takes.

    A function of the sizes and the kind of device alone, never of the clock, so that a resumed run
    decides the same. `sequences` are those of a forward and backward pass.
    """
    flops = tokens * training_flops_per_token(config)
    layers = tokens / (sequences * config.context) * config.n_layers
    saved = flops * costs.saved_per_flop + layers * costs.saved_per_layer
    return saved > costs.seconds + costs.seconds_per_layer * config.n_layers


def cause_of(error: BaseException) -> str:
    """Why torch.compile failed, in one line.

    Its exceptions wrap each other and end in advice on debugging; the compiler's own message is in
    the innermost one, after the command line. Below that there is only the exit code of a process.
    """
    innermost = error
    while inner := getattr(innermost, "inner_exception", None) or innermost.__cause__:
        if isinstance(inner, subprocess.CalledProcessError):
            break
        innermost = inner
    lines = [line.strip() for line in str(innermost).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    if "Output:" in lines and (said := lines[lines.index("Output:") + 1 :]):
        text += ": " + next((line for line in said if "error" in line), said[0])
    return f"{type(innermost).__name__}: {text}" if text else type(innermost).__name__
