"""What training a model costs, from its sizes alone: FLOPs and memory."""

from __future__ import annotations

from dataclasses import replace

from model.parts.part import FP32_BYTES
from model.parts.variants import Parts
from model.sizing.counts import count_parameters
from model.spec import ModelConfig


def forward_flops_per_token(config: ModelConfig) -> int:
    """FLOPs of one token's forward pass; a multiply-add counts as two.

    Two for each entry of a matrix, the head counted once and the look-up in the embedding not at
    all (Kaplan et al., 2020, "Scaling Laws for Neural Language Models", section 2.1). Scores and
    the weighted sum of values take 2·d_attention each per position that a token sees, which is
    (T + 1) / 2 on average in a causal sequence of T tokens (fewer under document masking, which is
    left out, because it depends on the text). Norms, rotations and activations are
    left out, as there and in Chowdhery et al., 2022, "PaLM", appendix B.
    """
    return sum(int(part.forward_flops(config)) for part in Parts.of(config))


def training_flops_per_token(config: ModelConfig) -> int:
    """FLOPs of one token's forward and backward pass: three times those of the forward pass.

    The backward pass has two products for each product of the forward pass (Kaplan et al., 2020,
    section 2.1).
    """
    return 3 * forward_flops_per_token(config)


def state_bytes(config: ModelConfig) -> int:
    """Bytes of weights, gradients and the moments of Adam, all in fp32: exact."""
    return 4 * FP32_BYTES * count_parameters(config).total


def activation_bytes(
    config: ModelConfig, *, batch_size: int, bytes_per_activation: int, recomputed: bool = False
) -> int:
    """Bytes that an eager forward pass keeps for the backward pass: an estimate.

    What each part keeps for a token is in `model.parts`. Logits are left out, because how many
    exist at once depends on the loss; so are autocast's copies of weights and inputs, and what the
    allocator wastes. torch.compile keeps less.

    Args:
        config: the model's sizes.
        batch_size: sequences whose activations exist at once.
        bytes_per_activation: 2 in bf16, 4 in fp32.
        recomputed: whether blocks keep only their input (gradient checkpointing). In the backward
            pass one block at a time then has its activations (Chen et al., 2016, section 3).
    """
    kept = replace(config, n_layers=1) if recomputed else config
    token = sum(int(part.activation_bytes(kept, bytes_per_activation)) for part in Parts.of(kept))
    if recomputed:
        token += config.n_layers * config.d_model * FP32_BYTES  # the stream is never in bf16
    return batch_size * config.context * token


def training_memory_bytes(
    config: ModelConfig, *, batch_size: int, bytes_per_activation: int, recomputed: bool = False
) -> int:
    """Bytes that training needs: `state_bytes`, exact, plus `activation_bytes`, an estimate."""
    return state_bytes(config) + activation_bytes(
        config,
        batch_size=batch_size,
        bytes_per_activation=bytes_per_activation,
        recomputed=recomputed,
    )
