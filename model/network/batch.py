"""A batch as the network reads it. `data.batches` has a record of this form; neither imports the
other.

Shapes: B sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Batch(Protocol):
    """Sequences of token ids with their targets, as arrays."""

    @property
    def inputs_BT(self) -> NDArray[np.int64]: ...  # noqa: N802

    @property
    def targets_BT(self) -> NDArray[np.int64]:  # noqa: N802
        """One token ahead of the inputs."""

    @property
    def mask_BT(self) -> NDArray[np.bool_] | None:  # noqa: N802
        """Which targets are scored; None for all."""

    @property
    def extras(self) -> Mapping[str, NDArray[Any]]:
        """Further inputs of a variant of the network, by name: [B, …] each."""


def on_device(tensor: Tensor, device: str | torch.device) -> Tensor:
    """A tensor of the CPU on a device. A GPU is not waited for: it fetches the tensor, from memory
    that the system may not move, once it has done what was asked of it before."""
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def moved(array: NDArray[Any], device: str | torch.device) -> Tensor:
    """An array as a contiguous tensor on a device, as `on_device`."""
    return on_device(torch.from_numpy(array).contiguous(), device)


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorBatch:
    """A batch as tensors on one device."""

    inputs_BT: Tensor
    targets_BT: Tensor
    mask_BT: Tensor | None
    extras: Mapping[str, Tensor]
    scored_B: tuple[int, ...]
    """Scored targets of each sequence, counted on the CPU to avoid waiting for the device."""

    @classmethod
    def of(cls, batch: Batch | TensorBatch, *, device: str | torch.device) -> TensorBatch:
        """The batch's arrays, moved to a device and made contiguous, because a compiled loss works
        for one memory layout only; a batch that was made there as it is."""
        if isinstance(batch, TensorBatch):
            return batch
        sequences, length = batch.inputs_BT.shape
        mask_BT = batch.mask_BT
        scored_B = [length] * sequences if mask_BT is None else mask_BT.sum(axis=1).tolist()
        return cls(
            inputs_BT=moved(batch.inputs_BT, device),
            targets_BT=moved(batch.targets_BT, device),
            mask_BT=None if mask_BT is None else moved(mask_BT, device),
            extras={name: moved(array, device) for name, array in batch.extras.items()},
            scored_B=tuple(scored_B),
        )

    @property
    def tokens(self) -> int:
        """Number of tokens that a step on this batch trains on."""
        return self.inputs_BT.numel()

    @property
    def scored(self) -> int:
        """Number of scored targets, over which the loss is a mean."""
        return sum(self.scored_B)

    def split(self, size: int) -> Iterator[TensorBatch]:
        """Micro-batches of `size` sequences, in order."""
        for start in range(0, len(self.inputs_BT), size):
            part = slice(start, start + size)
            yield TensorBatch(
                inputs_BT=self.inputs_BT[part],
                targets_BT=self.targets_BT[part],
                mask_BT=None if self.mask_BT is None else self.mask_BT[part],
                extras={name: tensor[part] for name, tensor in self.extras.items()},
                scored_B=self.scored_B[part],
            )
