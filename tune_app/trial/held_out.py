"""Scores a trained cell on the test split, which decides nothing."""

from __future__ import annotations

from pathlib import Path

from data.batches import EvaluationDocuments
from data.prepared import PreparedCorpus
from data.splits import SplitName
from model.evaluation.bits_per_byte import evaluate
from tune_app.journal.records import Score
from tune_app.trial.data import EVALUATION_BATCH
from tune_app.trial.trained import CheckpointError, load


def score(
    cell: str,
    checkpoint: str,
    corpus: PreparedCorpus,
    *,
    tokens: int,
    folder: Path,
    split: SplitName = "test",
    device: str = "cpu",
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
        batch_size=EVALUATION_BATCH,
        end_of_text=corpus.end_of_text,
    )
    found = evaluate(trained.model, documents)
    return Score(
        cell=cell,
        split=split,
        tokens=tokens,
        bits_per_byte=found.bits_per_byte,
        perplexity=found.perplexity,
        text_bytes=found.text_bytes,
    )
