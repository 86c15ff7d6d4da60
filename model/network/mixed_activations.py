"""PolyGLU's weighted sum of activations, with a backward pass that recomputes it.

Written out, autograd keeps the K weights of each position and neuron, the K activations and their
products: 16 numbers in fp32 and more, where SwiGLU keeps 4 of its own. Here only the inputs are
kept; both passes work in chunks, so that what they compute in between stays in the cache.

Shapes: B sequences, T positions, F inner width, K activations. A list over K is a list of tensors
[B, …] of one activation each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ACTIVATIONS: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("relu", functional.relu),
    ("tanh", torch.tanh),
    ("silu", functional.silu),
    ("gelu", functional.gelu),
)
"""Names and functions, in the order of the paper's code (arXiv 2603.13347)."""

CHUNK = 1 << 17
"""Entries of [T, F] that are mixed at once outside torch.compile."""


def mixed_activations(
    gate_BTF: Tensor, up_BTF: Tensor, preferences_KBF: Tensor, states_KBT: Tensor
) -> Tensor:
    """(Σ_k w_k σ_k(gate)) · up, [B, T, F], with w = softmax over k of preferences + states.

    Computes in fp32 (fp64 for fp64) and returns the dtype of `up_BTF`.

    Args:
        gate_BTF: what the activations σ_k read.
        up_BTF: multiplies their sum.
        preferences_KBF: of each neuron, the same at all positions; already divided by τ.
        states_KBT: of each position, the same for all neurons; already divided by τ.
    """
    mixed: Tensor = _MixedActivations.apply(  # type: ignore[no-untyped-call]
        gate_BTF, up_BTF, preferences_KBF, states_KBT
    )
    return mixed


class _MixedActivations(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gate_BTF: Tensor, up_BTF: Tensor, preferences_KBF: Tensor, states_KBT: Tensor
    ) -> Tensor:
        ctx.save_for_backward(gate_BTF, up_BTF, preferences_KBF, states_KBT)
        inner_BTF = torch.empty_like(up_BTF)
        for part, neurons in _chunks(gate_BTF):
            weights, total = _weights(preferences_KBF[neurons], states_KBT[(slice(None), *part)])
            gate = gate_BTF[part].to(preferences_KBF.dtype)
            mixed = torch.zeros_like(gate)
            for weight, (_, activation) in zip(weights, ACTIVATIONS, strict=True):
                mixed = mixed.addcmul_(weight, activation(gate))
            inner_BTF[part] = mixed.div_(total).mul_(up_BTF[part])
        return inner_BTF

    @staticmethod
    def backward(ctx: Any, gradient_BTF: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        gate_BTF, up_BTF, preferences_KBF, states_KBT = ctx.saved_tensors
        of_gate_BTF, of_up_BTF = torch.empty_like(gate_BTF), torch.empty_like(up_BTF)
        of_preferences_KBF = torch.zeros_like(preferences_KBF)
        of_states_KBT = torch.empty_like(states_KBT)
        for part, neurons in _chunks(gate_BTF):
            weights, total = _weights(preferences_KBF[neurons], states_KBT[(slice(None), *part)])
            gate = gate_BTF[part].to(preferences_KBF.dtype)
            values, slopes = _values_and_slopes(gate)
            mixed, slope = torch.zeros_like(gate), torch.zeros_like(gate)
            for place, weight in enumerate(weights):
                weight.div_(total)
                mixed = mixed.addcmul_(weight, values[place])
                slope = slope.addcmul_(weight, slopes[place])
            gradient = gradient_BTF[part].to(gate.dtype)
            of_up_BTF[part] = gradient * mixed
            of_mixed = gradient * up_BTF[part]
            of_gate_BTF[part] = slope.mul_(of_mixed)
            for place, weight in enumerate(weights):
                # The softmax's: w_k · (value_k - Σ_j w_j value_j).
                of_logit = weight.mul_(values[place] - mixed).mul_(of_mixed)
                of_states_KBT[place][part] = of_logit.sum(-1)
                of_preferences_KBF[place][neurons[1:]] += of_logit.sum(-2)
        return of_gate_BTF, of_up_BTF, of_preferences_KBF, of_states_KBT


Part = tuple[slice, ...]


def _chunks(gate_BTF: Tensor) -> Iterator[tuple[Part, Part]]:
    """Parts of [B, T], each with its part of [K, B]."""
    sequences, length, inner = gate_BTF.shape
    everything = slice(None)
    if torch.compiler.is_compiling():
        # The compiler's kernels keep what is between inputs and outputs in registers.
        yield (everything, everything), (everything, everything)
        return
    rows = max(1, CHUNK // inner)
    at_once = max(1, rows // length)
    for first in range(0, sequences, at_once):
        batch = slice(first, first + at_once)
        for start in range(0, length, rows):
            yield (batch, slice(start, start + rows)), (everything, batch)


def _weights(preferences_KBF: Tensor, states_KBT: Tensor) -> tuple[list[Tensor], Tensor]:
    """Weights [B, T, F] of each activation, and what they are to be divided by."""
    logits = [
        preferences_KBF[k, :, None, :] + states_KBT[k, :, :, None]
        for k in range(len(preferences_KBF))
    ]
    greatest = logits[0]
    for logit in logits[1:]:
        greatest = torch.maximum(greatest, logit)
    weights = [logit.sub_(greatest).exp_() for logit in logits]
    total = weights[0] + weights[1]
    for weight in weights[2:]:
        total = total.add_(weight)
    return weights, total


def _values_and_slopes(gate: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Each activation and its derivative, in the order of ACTIVATIONS."""
    tanh, sigmoid = gate.tanh(), gate.sigmoid()
    silu = gate * sigmoid
    below = (1 + torch.erf(gate * math.sqrt(0.5))).mul_(0.5)
    density = torch.exp(-0.5 * gate.square()).mul_(1 / math.sqrt(2 * math.pi))
    values = [gate.relu(), tanh, silu, gate * below]
    slopes = [
        (gate > 0).to(gate.dtype),
        1 - tanh.square(),
        sigmoid + silu * (1 - sigmoid),
        below + gate * density,
    ]
    return values, slopes
