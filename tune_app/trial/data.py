"""A cell's training and dev data, and how its tokens convert to baseline tokens."""

from __future__ import annotations

import math
from collections.abc import Callable

from data.batches import EvaluationDocuments, TrainingBatches
from data.prepared import PreparedCorpus
from data.stretches import choose
from data.tokenizers.spec import TokenizerSpec
from tune_app.plan.cell import Cell, refuse_former_sample
from tune_app.trial.tokenizer_files import TokenizerIdentity

EVALUATION_BATCH = 16
"""Sequences scored at once; bounds memory and does not change the scores."""


class TrialData:
    """The batches and the dev documents of a cell.

    Args:
        cell: the cell to train.
        corpora: returns the corpus as packed by a tokenizer.

    Raises ValueError if the corpus is unusable or too small for the context.
    """

    def __init__(self, cell: Cell, *, corpora: Callable[[TokenizerSpec], PreparedCorpus]) -> None:
        self._settings = cell.settings
        corpus = corpora(cell.tokenizer)
        self.tokenizer = TokenizerIdentity.of(corpus.manifest)
        """Of the tokenizer that encoded the text."""
        self.corpus_sha256 = corpus.manifest.corpus_sha256
        baseline = corpora(cell.baseline_tokenizer)
        refuse_former_sample(cell.settings.sample)
        context, sample_bytes = cell.model.context, cell.settings.evaluation_bytes
        masking = cell.model.document_masking
        self.batches = TrainingBatches(
            corpus.split("train"),
            context=context,
            batch_size=cell.settings.batch_size,
            seed=cell.seed,
            end_of_text=corpus.end_of_text if masking else None,
        )
        self.sample = sample_of(
            corpus, context=context, max_bytes=sample_bytes, document_masking=masking
        )
        """Stretches of dev scored at every evaluation."""
        self.full = EvaluationDocuments(
            corpus.split("dev"),
            context=context,
            batch_size=EVALUATION_BATCH,
            end_of_text=corpus.end_of_text,
            document_masking=masking,
        )
        """All dev documents, scored at the end."""
        self._own_per_baseline = baseline.bytes_per_token("train") / corpus.bytes_per_token("train")
        baseline_sample = sample_of(baseline, context=cell.baseline.context, max_bytes=sample_bytes)
        # Measured on the dev sample, so that it is the same for all cells of a sweep.
        self._baseline_bytes_per_token = baseline_sample.text_bytes / baseline_sample.tokens

    @property
    def tokens(self) -> int:
        """Tokens to train on, of the cell's own tokenizer."""
        return math.ceil(self._settings.tokens * self._own_per_baseline)

    def goal(self, evaluation: int) -> int:
        """Own tokens at which an evaluation is due: evenly spaced in text, not in tokens."""
        baseline_tokens = self._settings.tokens * evaluation / self._settings.evaluations
        return min(math.ceil(baseline_tokens * self._own_per_baseline), self.tokens)

    def baseline_tokens(self, tokens: int) -> int:
        """Own tokens as the same amount of text in the baseline's tokens."""
        return round(tokens / self._own_per_baseline)

    def baseline_token_perplexity(self, bits_per_byte: float) -> float:
        """exp(bits per byte · ln 2 · bytes per token of the baseline's tokenizer)."""
        nats = bits_per_byte * math.log(2) * self._baseline_bytes_per_token
        return math.exp(nats) if nats < 700 else math.inf


def sample_of(
    corpus: PreparedCorpus, *, context: int, max_bytes: int, document_masking: bool = False
) -> EvaluationDocuments:
    """The dev sample of so many bytes: the same text for every tokenizer."""
    stretches = corpus.stretches()
    return EvaluationDocuments(
        stretches,
        context=context,
        batch_size=EVALUATION_BATCH,
        end_of_text=corpus.end_of_text,
        first=choose(stretches.document_bytes, max_bytes).stretches,
        document_masking=document_masking,
    )
