"""Batches as a device scores them, made once each time or once for all times.

Shapes: B sequences, T tokens, N scored tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from model.network.batch import Batch, moved


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredBatch:
    """A batch on a device, of which some targets are scored."""

    inputs_BT: Tensor
    targets_N: Tensor
    places_N: Tensor | None
    """Of the scored targets among the B·T of all sequences; None if all are scored."""
    extras: Mapping[str, Tensor]

    @classmethod
    def of(cls, batch: Batch | ScoredBatch, *, device: str | torch.device) -> ScoredBatch:
        """The batch's arrays, moved to a device; a batch that was moved before as it is.

        What is scored is chosen on the host: a device would be waited for until it knows how many
        there are.
        """
        if isinstance(batch, ScoredBatch):
            return batch
        targets_N, places_N = batch.targets_BT.reshape(-1), None
        if batch.mask_BT is not None:
            places = np.flatnonzero(batch.mask_BT)
            targets_N, places_N = targets_N[places], moved(places, device)
        return cls(
            inputs_BT=moved(batch.inputs_BT, device),
            targets_N=moved(targets_N, device),
            places_N=places_N,
            extras={name: moved(array, device) for name, array in batch.extras.items()},
        )


class ScoredDocuments(Protocol):
    """Documents as batches, whose masks say which targets are text."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of the scored text."""

    def __iter__(self) -> Iterator[Batch | ScoredBatch]: ...


class HeldDocuments:
    """Documents whose batches are moved to a device once, for as many scorings as there are.

    Scores are the same bits: the batches are those of the documents.
    """

    def __init__(self, documents: ScoredDocuments, *, device: str | torch.device) -> None:
        self.text_bytes = documents.text_bytes
        """UTF-8 bytes of the scored text."""
        self._batches = tuple(ScoredBatch.of(batch, device=device) for batch in documents)

    def __iter__(self) -> Iterator[ScoredBatch]:
        return iter(self._batches)
