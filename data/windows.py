"""Windows over a split that overlap, so that a scored token has more text in front of it.

Shapes: B sequences of a batch, T tokens of a sequence (the context).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from data.batches import DOCUMENTS, Batch, documents_in
from data.prepared import PackedSplit


class SlidingWindows:
    """The documents of a split, each token of their text scored once, in windows that overlap.

    A window begins `stride` tokens behind the one before, and only its last `stride` targets are
    scored; of the first all are. Documents lie back to back, or are masked, as in
    `EvaluationDocuments`.

    Raises ValueError for sizes below 1 and for a stride longer than the context.
    """

    def __init__(
        self,
        split: PackedSplit,
        *,
        context: int,
        stride: int,
        batch_size: int,
        end_of_text: int,
        first: int | None = None,
        document_masking: bool = False,
    ) -> None:
        if not 1 <= stride <= context:
            raise ValueError(f"stride is {stride}; it must be from 1 to the context of {context}")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        documents = len(split.document_bytes[:first])
        self.context, self.stride, self.batch_size = context, stride, batch_size
        self.end_of_text = end_of_text
        self.text_bytes = int(np.asarray(split.document_bytes[:first]).sum())
        """UTF-8 bytes of the text scored."""
        self._document_masking = document_masking
        self._tokens = split.tokens[: int(split.document_offsets[documents])]

    @property
    def windows(self) -> int:
        """How many there are."""
        behind = max(0, len(self._tokens) - 1 - self.context)
        return 1 + math.ceil(behind / self.stride)

    def __len__(self) -> int:
        """Number of batches."""
        return math.ceil(self.windows / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for first in range(0, self.windows, self.batch_size):
            number = min(self.batch_size, self.windows - first)
            tokens = np.full((number, self.context + 1), self.end_of_text, dtype=np.int64)
            for row in range(number):
                start = (first + row) * self.stride
                here = self._tokens[start : start + self.context + 1]
                tokens[row, : len(here)] = here
            mask_BT = tokens[:, 1:] != self.end_of_text
            # What windows before have scored.
            mask_BT[1 if first == 0 else 0 :, : self.context - self.stride] = False
            inputs_BT = tokens[:, :-1]
            documents = {DOCUMENTS: documents_in(inputs_BT, self.end_of_text)}
            yield Batch(
                inputs_BT=inputs_BT,
                targets_BT=tokens[:, 1:],
                mask_BT=mask_BT,
                extras=documents if self._document_masking else {},
            )
