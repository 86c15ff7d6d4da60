"""What training a model costs, from its sizes alone: operations and memory."""

from __future__ import annotations

from model.sizing.budget import count_parameters
from model.spec import FEED_FORWARD_MATRICES, ModelConfig

FP32_BYTES = 4


def forward_flops_per_token(config: ModelConfig) -> int:
    """Floating-point operations of one token's way to its logits, a multiply-add counted as two.

    Two for each entry of a matrix that multiplies, the head once and the look-up in the embedding
    not at all (Kaplan et al., 2020, "Scaling Laws for Neural Language Models", section 2.1). For
    scores and the sum over values 2·A each, for every position a token sees; in a causal sequence
    of T tokens that is (T + 1) / 2 positions on average. Norms, rotations and activations are left
    out, as they are there and in Chowdhery et al., 2022, "PaLM", appendix B.
    """
    count = count_parameters(config)
    matrices = count.attention + count.feed_forward + config.vocab_size * config.d_model
    scores = config.n_layers * config.d_attention * (config.context + 1)
    return 2 * (matrices + scores)


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

    For each token and layer: what enters each of the two norms and what it is before its gain, in
    fp32 always (4·d); what enters the layer's matrices (2·d), queries, keys and values, what
    attention read and its copy by position (5·A), and the steps of the feed-forward (gate, its
    activation, up and their product: 4·f; without a gate 2·f). Logits are left out, because how
    many are alive at once is up to the loss; so are the copies that autocast makes of weights and
    inputs, and what an allocator loses. torch.compile keeps less.

    Args:
        config: the model's sizes.
        batch_size: sequences whose activations are alive at once.
        bytes_per_activation: 2 in bf16, 4 in fp32.
    """
    inner_steps = 2 * (FEED_FORWARD_MATRICES[config.feed_forward] - 1)
    computed = 2 * config.d_model + 5 * config.d_attention + inner_steps * config.d_ff
    norms = 4 * config.d_model * FP32_BYTES
    token = config.n_layers * (computed * bytes_per_activation + norms)
    return batch_size * config.context * token


def training_memory_bytes(
    config: ModelConfig, *, batch_size: int, bytes_per_activation: int
) -> int:
    """Bytes that training takes: `state_bytes`, exact, and `activation_bytes`, an estimate."""
    return state_bytes(config) + activation_bytes(
        config, batch_size=batch_size, bytes_per_activation=bytes_per_activation
    )
