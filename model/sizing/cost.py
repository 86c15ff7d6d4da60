"""What training a model costs, from its sizes alone: operations and memory."""

from __future__ import annotations

from model.parts import FP32_BYTES, Parts
from model.sizing.counts import count_parameters
from model.spec import ModelConfig


def forward_flops_per_token(config: ModelConfig) -> int:
    """Floating-point operations of one token's way to its logits, a multiply-add counted as two.

    Two for each entry of a matrix that multiplies, the head once and the look-up in the embedding
    not at all (Kaplan et al., 2020, "Scaling Laws for Neural Language Models", section 2.1). For
    scores and the sum over values 2·A each, for every position a token sees; in a causal sequence
    of T tokens that is (T + 1) / 2 positions on average. Norms, rotations and activations are left
    out, as they are there and in Chowdhery et al., 2022, "PaLM", appendix B.
    """
    return sum(int(part.forward_flops(config)) for part in Parts.of(config))


def training_flops_per_token(config: ModelConfig) -> int:
    """Operations of forward and backward for one token: three times the forward ones.

    The backward pass has two products for each one of the forward pass (Kaplan et al., 2020,
    section 2.1).
    """
    return 3 * forward_flops_per_token(config)


def state_bytes(config: ModelConfig) -> int:
    """Bytes of weights, gradients and the moments of Adam, all in fp32: exact."""
    return 4 * FP32_BYTES * count_parameters(config).total


def activation_bytes(config: ModelConfig, *, batch_size: int, bytes_per_activation: int) -> int:
    """Bytes that an eager forward pass keeps for the backward pass: an estimate.

    What each part keeps for a token is in `model.parts`. Logits are left out, because how many are
    alive at once is up to the loss; so are the copies that autocast makes of weights and inputs,
    and what an allocator loses. torch.compile keeps less.

    Args:
        config: the model's sizes.
        batch_size: sequences whose activations are alive at once.
        bytes_per_activation: 2 in bf16, 4 in fp32.
    """
    token = sum(
        int(part.activation_bytes(config, bytes_per_activation)) for part in Parts.of(config)
    )
    return batch_size * config.context * token


def training_memory_bytes(
    config: ModelConfig, *, batch_size: int, bytes_per_activation: int
) -> int:
    """Bytes that training takes: `state_bytes`, exact, and `activation_bytes`, an estimate."""
    return state_bytes(config) + activation_bytes(
        config, batch_size=batch_size, bytes_per_activation=bytes_per_activation
    )
