"""What a training step did, read from the device when it is asked for.

To read a number from a GPU is to wait until it has done everything before it, and meanwhile it gets
nothing new to do. So a step leaves its numbers there, and who trains reads those of many steps at
once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

SKIPPED = "skipped_steps"
"""The metric that is 1 for a step that was skipped because its gradients overflowed in fp16."""


class StepResult:
    """What a step did. A NaN or infinite loss is reported as it is; the caller decides.

    Args:
        tokens: trained so far, this step's included.
        known: metrics that were decided on the CPU, by name.
        names: of the other metrics, without the loss.
        values: the loss and then the metrics of these names, in fp32 on the step's device.
    """

    def __init__(
        self, *, tokens: int, known: Mapping[str, float], names: Sequence[str], values: Tensor
    ) -> None:
        self.tokens = tokens
        self._known = known
        self._names = tuple(names)
        self._unread: Tensor | None = values
        self._numbers: list[float] = []

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats per scored token, before the step; waits for the device."""
        return self._read()[0]

    @property
    def metrics(self) -> Mapping[str, float]:
        """What else was measured, by name: `learning_rate` (the reference's), `gradient_norm`
        (before clipping; a skipped step has none), in fp16 `loss_scale` and `skipped_steps`, and
        what parts of the network report; waits for the device."""
        found = {**self._known, **dict(zip(self._names, self._read()[1:], strict=True))}
        if found.get(SKIPPED):
            del found["gradient_norm"]
        return found

    @property
    def skipped(self) -> bool:
        """Whether the gradients overflowed in fp16, so that only the loss' scale has changed."""
        return bool(self.metrics.get(SKIPPED))

    @property
    def checked_loss(self) -> float:
        """The loss; NaN if its gradient is not finite, which is divergence even where the loss
        looks fine."""
        finite = math.isfinite(self.metrics.get("gradient_norm", 0.0))
        return self.loss if finite else math.nan

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StepResult):
            return NotImplemented
        return (self.tokens, self.loss, self.metrics) == (other.tokens, other.loss, other.metrics)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"StepResult(loss={self.loss}, tokens={self.tokens}, metrics={self.metrics})"

    def _read(self) -> list[float]:
        if self._unread is not None:
            read_all([self])
        return self._numbers


def read_all(results: Iterable[StepResult]) -> None:
    """Reads the numbers of several steps from the device, waiting for it once."""
    waiting = [result for result in results if result._unread is not None]
    tensors = [result._unread for result in waiting if result._unread is not None]
    if not tensors:
        return
    numbers = iter(torch.cat(tensors).tolist())
    for result, tensor in zip(waiting, tensors, strict=True):
        result._numbers = [next(numbers) for _ in range(len(tensor))]
        result._unread = None
