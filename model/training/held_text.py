"""The text that a training reads, held by its device, which makes the batches from it.

A step then sends the device 8 bytes for each sequence, where it stands in the text, instead of 16
for each token. The batches are the same ones.

Shapes: B sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from model.network.batch import TensorBatch, on_device
from model.network.documents import DOCUMENTS

SHARE_OF_FREE = 1 / 20
"""Of the GPU's free memory that a text may have: the model's steps need the rest."""
MOST_UNREAD = 8
"""Tokens of a text for each that is trained on, at most: copying what is not read takes longer than
it saves."""

_PIECE = 1 << 24
"""Tokens copied at once."""
_SIGNED: Mapping[int, tuple[DTypeLike, torch.dtype]] = {
    2: (np.int16, torch.int16),
    4: (np.int32, torch.int32),
}
"""By bytes of a token, the signed types of that size: torch has few operations for unsigned ones.
"""
_LOW_BITS = {2: 0xFFFF, 4: 0xFFFFFFFF}


class Text(Protocol):
    """Tokens [N] of an unsigned type, from which slices are read."""

    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, place: slice, /) -> Any: ...


class Places(Protocol):
    """Where the sequences of a batch stand in a text."""

    @property
    def starts_B(self) -> NDArray[np.int64]:  # noqa: N802
        """The first token of each."""

    @property
    def length(self) -> int:
        """Tokens of each, without the one behind it, which is the last target."""


class PlacedBatches(Protocol):
    """Batches that are pieces of one text, with all targets scored."""

    @property
    def text(self) -> Text: ...

    @property
    def end_of_text(self) -> int | None:
        """The token that begins a document, if batches say which document a position is of."""

    def places(self, step: int) -> Places:
        """Where the batch of a step, counted from 0, stands in the text."""


@dataclass(frozen=True, kw_only=True)
class Holding:
    """Whether a device holds the text, and why."""

    held: bool
    reason: str


def should_hold(
    *, device: str, tokens: int, text: Text, processes: int, free: int, share: float
) -> Holding:
    """Whether the device of a training holds its text. No result depends on it.

    Args:
        device: of the training.
        tokens: to train on.
        text: what they are of.
        processes: that train the model together.
        free: bytes of the device's memory.
        share: of the device's memory that this process may use.
    """
    kept = _bytes_of(text)
    if torch.device(device).type != "cuda":
        return Holding(held=False, reason=f"{device} is no GPU with a memory of its own")
    if processes > 1:
        return Holding(held=False, reason=f"one of {processes} processes reads it for all of them")
    if share < 1:
        return Holding(
            held=False, reason="other cells use this GPU too, and each would hold a copy"
        )
    if len(text) > MOST_UNREAD * tokens:
        return Holding(
            held=False, reason=f"only {tokens:,} of its {len(text):,} tokens are trained on"
        )
    of_free = f"{kept / 1e6:,.1f} MB where {free / 1e6:,.0f} MB are free"
    if kept > SHARE_OF_FREE * free:
        return Holding(held=False, reason=f"it is {of_free}, over {SHARE_OF_FREE:.0%}")
    return Holding(held=True, reason=f"it is {of_free}")


class HeldText:
    """The batches of a source, made on a device that holds their text.

    Args:
        source: whose batches; what places it gives is asked anew for each step.
        device: of the training.
    """

    def __init__(self, source: PlacedBatches, *, device: str) -> None:
        self._source = source
        self._device = device
        self._text_N = _on_device(source.text, device)
        self._low_bits = _LOW_BITS[source.text.dtype.itemsize]
        self._spans: dict[int, Tensor] = {}

    def batch(self, step: int) -> TensorBatch:
        """The batch of a step, counted from 0."""
        places = self._source.places(step)
        starts_B = on_device(torch.from_numpy(places.starts_B), self._device)
        # Inputs and targets apart: each is contiguous, as the batches of the host are.
        places_2BT = starts_B[:, None] + self._span_21T(places.length)
        inputs_BT, targets_BT = (self._text_N[places_2BT].long() & self._low_bits).unbind()
        extras = {}
        if (end_of_text := self._source.end_of_text) is not None:
            extras[DOCUMENTS] = (inputs_BT == end_of_text).cumsum(1, dtype=torch.int32)
        return TensorBatch(
            inputs_BT=inputs_BT,
            targets_BT=targets_BT,
            mask_BT=None,
            extras=extras,
            scored_B=(places.length,) * len(places.starts_B),
        )

    def _span_21T(self, length: int) -> Tensor:  # noqa: N802
        """Of the inputs and of the targets, from a sequence's first token on."""
        if length not in self._spans:
            inputs_T = torch.arange(length, device=self._device)
            self._spans[length] = torch.stack((inputs_T, inputs_T + 1))[:, None]
        return self._spans[length]


def _bytes_of(text: Text) -> int:
    return len(text) * text.dtype.itemsize


def _on_device(text: Text, device: str) -> Tensor:
    """The bits of the tokens [N], as signed numbers."""
    of_host, of_torch = _SIGNED[text.dtype.itemsize]
    moved_N = torch.empty(len(text), dtype=of_torch, device=device)
    for first in range(0, len(text), _PIECE):
        # A copy, as torch takes no array that is mapped from a file for reading alone.
        piece = np.array(text[first : first + _PIECE]).view(of_host)
        moved_N[first : first + _PIECE] = torch.from_numpy(piece)
    return moved_N
