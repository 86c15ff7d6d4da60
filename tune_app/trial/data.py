"""What a cell trains on and is scored by, in its own tokens and in the baseline's."""

from __future__ import annotations

import math
from collections.abc import Callable

from data.batches import EvaluationDocuments, TrainingBatches
from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from tune_app.plan.cell import Cell

EVALUATION_BATCH = 16
"""Sequences scored at once; bounds memory and changes no figure."""


class TrialData:
    """The batches and the dev documents of a cell.

    Args:
        cell: whose they are.
        corpora: gives the corpus as a tokenizer has packed it.

    Raises ValueError where the corpus is impossible or too small for the context.
    """

    def __init__(self, cell: Cell, *, corpora: Callable[[TokenizerSpec], PreparedCorpus]) -> None:
        self._settings = cell.settings
        corpus = corpora(cell.tokenizer)
        reference = corpora(cell.baseline_tokenizer)
        context, capped = cell.model.context, cell.settings.evaluation_bytes
        self.batches = TrainingBatches(
            corpus.split("train"),
            context=context,
            batch_size=cell.settings.batch_size,
            seed=cell.seed,
        )
        self.sample = _dev_documents(corpus, context=context, max_bytes=capped)
        """Scored while training."""
        self.whole = _dev_documents(corpus, context=context, max_bytes=None)
        """Scored at the end."""
        self._own_per_reference = reference.bytes_per_token("train") / corpus.bytes_per_token(
            "train"
        )
        reference_sample = _dev_documents(
            reference, context=cell.baseline.context, max_bytes=capped
        )
        # Of the documents scored while training: one number for all cells of a sweep.
        self._reference_bytes_per_token = reference_sample.text_bytes / reference_sample.tokens

    @property
    def tokens(self) -> int:
        """The trial's tokens in those of its own tokenizer."""
        return math.ceil(self._settings.tokens * self._own_per_reference)

    def goal(self, evaluation: int) -> int:
        """Own tokens at which an evaluation is due: evenly spaced in text, not in tokens."""
        reference = self._settings.tokens * evaluation / self._settings.evaluations
        return min(math.ceil(reference * self._own_per_reference), self.tokens)

    def baseline_tokens(self, tokens: int) -> int:
        """Own tokens as the same amount of text in the baseline's tokens."""
        return round(tokens / self._own_per_reference)

    def baseline_token_perplexity(self, bits_per_byte: float) -> float:
        """exp(bits per byte · ln 2 · bytes per token of the baseline's tokenizer)."""
        nats = bits_per_byte * math.log(2) * self._reference_bytes_per_token
        return math.exp(nats) if nats < 700 else math.inf


def _dev_documents(
    corpus: PreparedCorpus, *, context: int, max_bytes: int | None
) -> EvaluationDocuments:
    return EvaluationDocuments(
        corpus.split("dev"),
        context=context,
        batch_size=EVALUATION_BATCH,
        end_of_text=corpus.end_of_text,
        max_bytes=max_bytes,
    )
