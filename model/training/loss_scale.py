"""The scale of the loss in fp16, which follows the gradients.

fp16 has no numbers between 0 and 6e-8, where many gradients are, and none above 65,504. So the loss
is multiplied before the backward pass, and the gradients, which are in fp32 like the weights, are
divided afterwards, before they are clipped (Micikevicius et al., 2018, "Mixed Precision Training",
section 3.2). When gradients overflow, the step is skipped and the scale halved; after many steps
without an overflow it is doubled. The numbers are those of torch.amp.GradScaler, which would wait
for the device where there are two optimisers, as with Muon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from model.training.steps import SKIPPED

FIRST_SCALE = 2.0**16
GROWTH, BACKOFF = 2.0, 0.5
STEPS_TO_GROW = 2_000
"""Steps in a row without an overflow after which the scale grows."""
LEAST_SCALE = 1.0
"""Gradients that overflow at this scale would do so without any: the training has diverged. torch's
scaler would go on, and skip every step that follows."""

SCALE_METRICS = ("loss_scale", SKIPPED)
"""Metrics of a step whose loss is scaled."""


class LossScale:
    """The scale, on the device of the training: nothing here waits for it, and it stays in the same
    memory.

    Powers of two, so that it changes no bit of a gradient that fp16 can hold.
    """

    def __init__(self, device: str) -> None:
        self._scale = torch.full((), FIRST_SCALE, device=device)
        self._steps = torch.zeros((), dtype=torch.int32, device=device)
        """In a row without an overflow."""

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to go backward from."""
        return loss * self._scale

    @torch.no_grad()
    def unscale(self, parameters: Iterable[Tensor]) -> None:
        """Divides the gradients; what overflowed stays infinite or NaN."""
        gradients = [one.grad for one in parameters if one.grad is not None]
        torch._foreach_mul_(gradients, self._scale.reciprocal())

    @torch.no_grad()
    def follow(self, not_finite: Tensor) -> dict[str, Tensor]:
        """Moves the scale after a step; the step's metrics, by the names of SCALE_METRICS.

        not_finite: 1 if its gradients were not, so that it was skipped, else 0.
        """
        used = self._scale.clone()
        skipped = not_finite * (used > LEAST_SCALE)
        steps = self._steps + 1
        grows = steps >= STEPS_TO_GROW
        grown = torch.where(grows, used * GROWTH, used)
        # In fp32 it would become infinite at last.
        grown = torch.where(grown.isfinite(), grown, used)
        smaller = (used * BACKOFF).clamp(min=LEAST_SCALE)
        self._scale.copy_(torch.where(not_finite > 0, smaller, grown))
        self._steps.copy_(torch.where((not_finite > 0) | grows, 0, steps))
        return dict(zip(SCALE_METRICS, (used, skipped), strict=True))

    def state_dict(self) -> dict[str, Tensor]:
        """All that the next steps depend on."""
        return {"scale": self._scale, "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`, from any device."""
        self._scale.copy_(state["scale"])
        self._steps.copy_(state["steps"])
