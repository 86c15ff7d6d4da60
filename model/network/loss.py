"""Cross-entropy of a linear head, without all logits in memory at once.

The logits of a step are by far its largest tensor: at 2,048 tokens and a vocabulary of 16,000,
131 MB in fp32, and their gradient as much again. Here only a chunk of rows exists at a time. The
gradients of features and matrix are computed in the forward pass, where the chunk's probabilities
are at hand, so nothing is computed twice and the backward pass only scales.

torch.nn.functional.linear_cross_entropy does the same; on a CPU in bf16 it either accumulates in
bf16 or is slower than logits in one piece (benchmarks/loss_memory.py measures both).

Shapes: B sequences, T tokens, S = B·T tokens of all sequences, C tokens of a chunk,
E features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_LOGITS: Mapping[str, int] = {"cpu": 1 << 23, "cuda": 1 << 27}
"""Logits of a chunk by type of device, others as a CPU: 32 MiB in fp32, where smaller ones make the
products less efficient; 512 MiB on a GPU, whose kernels are started for each chunk."""
SCORED_LOGITS: Mapping[str, int] = {"cpu": 1 << 23, "cuda": 1 << 26}
"""The same where no gradient is asked for. On a GPU half as many, as those of an evaluation are in
fp32, which so takes no more memory than the steps around it."""


def linear_cross_entropy(
    features_BTE: Tensor, weight_VE: Tensor, targets_BT: Tensor, mask_BT: Tensor | None = None
) -> Tensor:
    """Mean of -log softmax(features · weightᵀ)[target] in nats, a scalar in fp32.

    With a mask the mean is over the targets where it is True; 0 if there are none.

    Products run in the precision of autocast if it is on; softmax and sums are in fp32.
    Gradients of first order only.
    """
    features_SE, targets_S = features_BTE.flatten(0, 1), targets_BT.flatten()
    mask_S = None if mask_BT is None else mask_BT.flatten()
    loss = _LinearCrossEntropy.apply(features_SE, weight_VE, targets_S, mask_S)  # type: ignore[no-untyped-call]
    return cast(Tensor, loss)


def nats_per_token(features_SE: Tensor, weight_VE: Tensor, targets_S: Tensor) -> Tensor:
    """-log softmax(features · weightᵀ)[target] of each token [S] in nats."""
    rows = chunk_rows(weight_VE, SCORED_LOGITS)
    chunks = [
        functional.cross_entropy(features_CE @ weight_VE.T, targets_C, reduction="none")
        for features_CE, targets_C in zip(
            torch.split(features_SE, rows), torch.split(targets_S, rows), strict=True
        )
    ]
    return torch.cat(chunks)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features_SE: Tensor, weight_VE: Tensor, targets_S: Tensor, mask_S: Tensor | None
    ) -> Tensor:
        device = features_SE.device.type
        dtype = features_SE.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        tokens, rows = len(features_SE), chunk_rows(weight_VE, CHUNK_LOGITS)
        scored = tokens if mask_S is None else mask_S.sum().clamp(min=1)
        if mask_S is not None:
            targets_S = targets_S.where(mask_S, 0)  # unscored targets need not be valid tokens
        with torch.autocast(device, enabled=False):
            product_SE, product_VE = features_SE.to(dtype), weight_VE.to(dtype)
            features_gradient_SE = torch.empty_like(product_SE)
            weight_gradient_VE = torch.zeros_like(weight_VE, dtype=torch.float32)
            nats_S = torch.empty(tokens, device=features_SE.device)
            for start in range(0, tokens, rows):
                chunk = slice(start, start + rows)
                nats_S[chunk], gradient_CV = _softmax(
                    product_SE[chunk] @ product_VE.T, targets_S[chunk]
                )
                if mask_S is not None:
                    nats_S[chunk].masked_fill_(~mask_S[chunk], 0)
                    gradient_CV.masked_fill_(~mask_S[chunk][:, None], 0)
                torch.mm(gradient_CV, product_VE, out=features_gradient_SE[chunk])
                weight_gradient_VE += gradient_CV.T @ product_SE[chunk]
                del gradient_CV  # before the next chunk's logits are there
        ctx.save_for_backward(
            features_gradient_SE.to(features_SE.dtype).div_(scored),
            weight_gradient_VE.to(weight_VE.dtype).div_(scored),
        )
        return nats_S.mean() if mask_S is None else nats_S.sum() / scored

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        features_gradient_SE, weight_gradient_VE = ctx.saved_tensors
        return features_gradient_SE * gradient, weight_gradient_VE * gradient, None, None


def _softmax(logits_CV: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
    """Nats of the targets in fp32, and their gradients with respect to the logits."""
    targets_C1 = targets_C[:, None]
    log_CV = torch.log_softmax(logits_CV, dim=1, dtype=torch.float32)
    nats_C = -log_CV.gather(1, targets_C1).squeeze(1)
    probability_CV = log_CV.exp_()
    if logits_CV.is_cuda:
        # The same numbers. A deterministic scatter sorts its indices there; this is a part of the
        # kernel before it once compiled.
        classes_V = torch.arange(probability_CV.shape[1], device=logits_CV.device)
        gradient_CV = probability_CV.sub_(targets_C1 == classes_V)
    else:
        minus_one_C1 = probability_CV.new_full(targets_C1.shape, -1)
        gradient_CV = probability_CV.scatter_add_(1, targets_C1, minus_one_C1)
    return nats_C, gradient_CV.to(logits_CV.dtype)


def chunk_rows(weight_VE: Tensor, most: Mapping[str, int]) -> int:
    """Tokens of a chunk that has so many logits at most, by type of device."""
    logits = most.get(weight_VE.device.type, most["cpu"])
    return max(1, logits // len(weight_VE))
