"""Scores a model on text: bits per byte and perplexity, in fp32 unless TF32 is asked for.

Shapes: B sequences, T tokens, N scored tokens, E features, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.evaluation.products import products_in
from model.evaluation.scored_batches import ScoredBatch, ScoredDocuments
from model.network.batch import Batch
from model.network.documents import DOCUMENTS
from model.network.loss import nats_per_token
from model.network.transformer import Transformer
from model.precisions import FP32


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The score of a model on documents; infinite or NaN if its loss is."""

    bits_per_byte: float
    """Comparable between tokenizers."""
    perplexity: float
    """exp of the nats per scored token; comparable between models of one tokenizer only."""
    nats: float
    """Of all scored tokens together."""
    text_bytes: int
    tokens: int
    """Scored tokens."""


def evaluate(
    model: Transformer, documents: ScoredDocuments, *, precision: str = FP32
) -> Evaluation:
    """Scores every token of the documents once, eagerly; auxiliary losses are ignored.

    A model with document masking scores each token with the context of its own document alone.

    precision: of products, `fp32` or `tf32`; the latter changes nothing but on CUDA.

    The model's mode and all random generators stay as they were. Raises ValueError if nothing is
    scored, or if the batches do not say which document a position is of and the model must know.
    """
    with scoring(model, precision):
        nats, tokens = _total(model, documents)
    if tokens == 0 or documents.text_bytes == 0:
        raise ValueError("the documents have no token to score; evaluate on a split with text")
    return Evaluation(
        bits_per_byte=nats / math.log(2) / documents.text_bytes,
        perplexity=perplexity_of(nats / tokens),
        nats=nats,
        text_bytes=documents.text_bytes,
        tokens=tokens,
    )


def nats_by_token(
    model: Transformer, documents: Iterable[Batch | ScoredBatch], *, precision: str = FP32
) -> NDArray[np.float64]:
    """The nats of every scored token in order, [N]; otherwise as `evaluate`."""
    with scoring(model, precision):
        found = [nats_N.double() for nats_N in _scored(model, documents)]
        return torch.cat(found).cpu().numpy()


@contextmanager
def scoring(model: Transformer, precision: str = FP32) -> Iterator[None]:
    """Inside the block a model is evaluated, eagerly and in fp32, but for products in another
    precision; its mode stays as it was."""
    training = model.training
    model.eval()
    try:
        with (
            torch.inference_mode(),
            torch.autocast(_device(model).type, enabled=False),
            products_in(precision),
        ):
            yield
    finally:
        model.train(training)


def _total(model: Transformer, documents: ScoredDocuments) -> tuple[float, int]:
    nats: Tensor | float = 0.0  # no tensor of the host: to bring it would wait for the device
    tokens = 0
    for nats_N in _scored(model, documents):
        nats = nats_N.sum(dtype=torch.float64) + nats
        tokens += len(nats_N)
    return float(nats), tokens  # read once: each time would wait for the device


def _scored(model: Transformer, documents: Iterable[Batch | ScoredBatch]) -> Iterator[Tensor]:
    """The nats of each batch's scored tokens, in order: [N] each."""
    device = _device(model)
    for given in documents:
        if model.config.document_masking and DOCUMENTS not in given.extras:
            raise ValueError(
                "the model was built with document_masking, but the batches do not say which "
                f"document a position is of; give them the extra {DOCUMENTS!r}"
            )
        batch = ScoredBatch.of(given, device=device)
        features_BTE, weight_VE = model.output(
            model.hidden_states(batch.inputs_BT, dict(batch.extras))
        )
        # Only what is scored goes through the head, by far the largest product.
        features_NE = features_BTE.flatten(0, 1)
        if batch.places_N is not None:
            features_NE = features_NE[batch.places_N]
        nats_N: Tensor = nats_per_token(features_NE, weight_VE, batch.targets_N)
        if device.type == "mps":  # it has no float64
            nats_N = nats_N.cpu()
        yield nats_N


def _device(model: Transformer) -> torch.device:
    return next(model.parameters()).device


def perplexity_of(nats: float) -> float:
    """e to the nats per token; infinite if that is too large for a number."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
