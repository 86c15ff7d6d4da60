"""Scores the dev sample in parts, so that a difference between two cells has a standard error."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.batches import EvaluationDocuments
from model.evaluation.bits_per_byte import nats_by_token, perplexity_of
from model.evaluation.scored_batches import ScoredBatch
from model.network.batch import Batch
from model.network.transformer import Transformer
from model.precisions import FP32

MOST_PARTS = 32
"""Enough to know a standard error within 13 %; few numbers for a journal."""


@dataclass(frozen=True, kw_only=True)
class SampleScore:
    """A model's score on the dev sample; infinite or NaN if its loss is."""

    bits_per_byte: float
    perplexity: float
    """Per token of the model's own tokenizer."""
    parts: tuple[float, ...]
    """Bits per byte of each part: sets of stretches, the same text for every tokenizer."""


def score_sample(
    model: Transformer,
    sample: EvaluationDocuments,
    batches: Iterable[Batch | ScoredBatch] | None = None,
    *,
    precision: str = FP32,
) -> SampleScore:
    """Scores each stretch once, eagerly.

    Args:
        model: to score.
        sample: what is scored.
        batches: of the sample, if a device holds them; None makes them.
        precision: of products: see `evaluate`.
    """
    nats_N = nats_by_token(model, sample if batches is None else batches, precision=precision)
    part_N = np.repeat(parts_of(sample.documents), sample.tokens_D)
    nats_P = np.bincount(part_N, weights=nats_N)
    bytes_P = np.bincount(parts_of(sample.documents), weights=sample.bytes_D)
    nats = float(nats_N.sum())
    return SampleScore(
        bits_per_byte=nats / math.log(2) / sample.text_bytes,
        perplexity=perplexity_of(nats / len(nats_N)),
        parts=tuple((nats_P / math.log(2) / bytes_P).tolist()),
    )


def parts_of(stretches: int) -> NDArray[np.int64]:
    """[stretches]: the part of each. Neighbours in the order of their hash have nothing in common,
    so parts are as independent as stretches."""
    return np.arange(stretches) % MOST_PARTS
