"""Cross-entropy of a linear head."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def linear_cross_entropy(
    features_BTE: Tensor, weight_VE: Tensor, targets_BT: Tensor, *, scale: float
) -> Tensor:
    """Mean nats a token."""
    logits_SV = functional.linear(features_BTE.flatten(0, 1), weight_VE) * scale
    return functional.cross_entropy(logits_SV.float(), targets_BT.flatten())
