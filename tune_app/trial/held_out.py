"""Scores a trained cell on the test split, which decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.batches import Batch, EvaluationDocuments
from data.prepared import PreparedCorpus
from data.progress import Report, silent
from data.splits import SplitName
from model.evaluation.bits_per_byte import evaluate
from tune_app.journal.records import Score
from tune_app.trial.data import sequences_at_once
from tune_app.trial.trained import CheckpointError, load


@dataclass(frozen=True, kw_only=True)
class _Reported:
    """Documents that report how much of their text is scored."""

    documents: EvaluationDocuments
    stage: str
    report: Report

    @property
    def text_bytes(self) -> int:
        return self.documents.text_bytes

    def __iter__(self) -> Iterator[Batch]:
        for number, batch in enumerate(self.documents):
            done = self.text_bytes * number // len(self.documents)
            self.report(self.stage, done, self.text_bytes)
            yield batch


def score(
    cell: str,
    checkpoint: str,
    corpus: PreparedCorpus,
    *,
    tokens: int,
    folder: Path,
    split: SplitName = "test",
    device: str = "cpu",
    report: Report = silent,
) -> Score:
    """The score of a finished cell's checkpoint on all documents of a split.

    Args:
        cell: key of the cell.
        checkpoint: its newest, as the journal names it.
        corpus: packed by its tokenizer.
        tokens: that it trained, of its own tokenizer: no earlier state is scored.
        folder: of the sweep, where a relative path starts.
        split: of the corpus.
        device: `cpu`, `cuda`, …
        report: hears of the bytes scored, as `score on test`.

    Raises CheckpointError, TokenizerError or StoreError if the checkpoint cannot be read or is
    another one, CorpusError if the split is shorter than the context.
    """
    trained = load(checkpoint, folder=folder, device=device)
    if trained.tokens != tokens:
        raise CheckpointError(
            f"{checkpoint} has {trained.tokens:,} of the {tokens:,} tokens that the cell trained"
        )
    documents = EvaluationDocuments(
        corpus.split(split),
        context=trained.config.context,
        batch_size=sequences_at_once(device, context=trained.config.context),
        end_of_text=corpus.end_of_text,
        document_masking=trained.config.document_masking,
    )
    reported = _Reported(documents=documents, stage=f"score on {split}", report=report)
    found = evaluate(trained.model, reported)
    return Score(
        cell=cell,
        split=split,
        tokens=tokens,
        bits_per_byte=found.bits_per_byte,
        perplexity=found.perplexity,
        text_bytes=found.text_bytes,
    )
