"""Scores a model on text: bits per byte and perplexity, plain and in sliding windows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.batches import DOCUMENTS, Batch, EvaluationDocuments
from data.prepared import PackedSplit
from data.windows import SlidingWindows
from model.evaluation.bits_per_byte import nats_by_token, perplexity_of
from model.network.transformer import Transformer

_BATCH = 16
"""Sequences scored at once; bounds memory and changes no score but in its last bits."""
STRIDE = 4
"""Windows overlap so that the next begins a quarter of the context later."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextScore:
    """The score of a model on documents."""

    nats_D: NDArray[np.float64]
    """[documents], of all tokens of each."""
    tokens_D: NDArray[np.int64]
    """[documents], scored in each."""
    bytes_D: NDArray[np.int64]
    """[documents], UTF-8 bytes of each."""
    mean_context: float
    """Tokens in front of a scored token in its window."""
    sliding_nats: float
    sliding_mean_context: float
    sliding_stride: int

    def metrics(self) -> dict[str, float]:
        """By the names of `fields.EVALUATION_FIELDS`."""
        nats, tokens, size = self.nats_D.sum(), int(self.tokens_D.sum()), int(self.bytes_D.sum())
        return {
            "bits_per_byte": float(nats) / math.log(2) / size,
            "bits_per_byte_error": ratio_error(self.nats_D / math.log(2), self.bytes_D),
            "perplexity": perplexity_of(float(nats) / tokens),
            "nats": float(nats),
            "tokens": tokens,
            "text_bytes": size,
            "documents": len(self.nats_D),
            "mean_context": self.mean_context,
            "sliding_bits_per_byte": self.sliding_nats / math.log(2) / size,
            "sliding_perplexity": perplexity_of(self.sliding_nats / tokens),
            "sliding_mean_context": self.sliding_mean_context,
            "sliding_stride": self.sliding_stride,
        }

    def bits_per_byte_of(self, documents_D: NDArray[np.bool_]) -> float:
        """Bits per byte of some of the documents; NaN of none."""
        size = int(self.bytes_D[documents_D].sum())
        nats = float(self.nats_D[documents_D].sum())
        return nats / math.log(2) / size if size else math.nan


def score_text(
    model: Transformer, split: PackedSplit, *, end_of_text: int, first: int | None = None
) -> TextScore:
    """The score on the first documents of a split, or on all of them.

    Raises ValueError if there is no token to score.
    """
    context = model.config.context
    documents = EvaluationDocuments(
        split,
        context=context,
        batch_size=_BATCH,
        end_of_text=end_of_text,
        first=len(split.document_bytes) if first is None else first,
        document_masking=model.config.document_masking,
    )
    if documents.tokens == 0:
        raise ValueError("the documents have no token to score; evaluate on a text that has")
    plain = _Counted(documents)
    nats_N = nats_by_token(model, plain)
    # reduceat needs a token in each document, and each has one: blank ones are left out.
    starts_D = np.concatenate([[0], np.cumsum(documents.tokens_D)[:-1]])
    sliding = SlidingWindows(
        split,
        context=context,
        stride=max(1, context // STRIDE),
        batch_size=_BATCH,
        end_of_text=end_of_text,
        first=first,
        document_masking=model.config.document_masking,
    )
    counted = _Counted(sliding)
    sliding_nats = float(nats_by_token(model, counted).sum())
    assert counted.tokens == plain.tokens == len(nats_N) == documents.tokens
    return TextScore(
        nats_D=np.add.reduceat(nats_N, starts_D),
        tokens_D=documents.tokens_D,
        bytes_D=documents.bytes_D,
        mean_context=plain.context / plain.tokens,
        sliding_nats=sliding_nats,
        sliding_mean_context=counted.context / counted.tokens,
        sliding_stride=sliding.stride,
    )


def ratio_error(above_D: NDArray[np.float64], below_D: NDArray[np.int64]) -> float:
    """Standard error of Σ above / Σ below over the sampling of documents; NaN of fewer than two.

    Of the ratio estimator (Cochran, 1977, "Sampling Techniques", section 6.3).
    """
    number = len(above_D)
    if number < 2:
        return math.nan
    residual_D = above_D - above_D.sum() / below_D.sum() * below_D
    spread = number / (number - 1) * float((residual_D**2).sum())
    return math.sqrt(spread) / float(below_D.sum())


class _Counted:
    """Batches that count their scored tokens, and the tokens in front of these."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self.tokens = 0
        self.context = 0

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            assert batch.mask_BT is not None
            rows, places = np.nonzero(batch.mask_BT)
            self.tokens += len(places)
            self.context += int((places + 1).sum())
            if DOCUMENTS in batch.extras:
                # Only its own document is in front of a token: less what stands before that.
                documents_BT = batch.extras[DOCUMENTS]
                begun_BT = np.apply_along_axis(
                    lambda one: np.searchsorted(one, one), 1, documents_BT
                )
                self.context -= int(begun_BT[rows, places].sum())
            yield batch
