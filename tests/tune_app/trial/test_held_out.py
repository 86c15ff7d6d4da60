"""A checkpoint's score on a split is the trained model's, and of no other state."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.prepare import prepare
from tune_app.plan.cell import Cell
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.held_out import score
from tune_app.trial.trained import CheckpointError
from tune_app.trial.trial import Trial

CELL = Cell.from_values(
    {
        **{"target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32},
        **{"tokens": 512, "batch_size": 4, "evaluations": 1, "evaluation_bytes": 4_096},
        "embedding_ratio": 0.25,
    }
)


def test_a_split_is_scored_as_the_trial_scores_it(
    small_corpus: Path, cache: Path, tmp_path: Path
) -> None:
    corpus = prepare(str(small_corpus), CELL.tokenizer, cache=cache)
    trial = Trial(CELL, corpora=lambda spec: prepare(str(small_corpus), spec, cache=cache))
    seen = trial.advance()
    assert seen is not None and trial.finished
    store = PathStore(tmp_path / "checkpoints")
    name = Checkpoints(store, cell=CELL.key).save(trial._state(), tokens=trial.tokens)
    kept = f"checkpoints/{name}"
    dev = score(CELL.key, kept, corpus, tokens=trial.tokens, folder=tmp_path, split="dev")
    assert (dev.bits_per_byte, dev.perplexity) == (seen.full_bits_per_byte, seen.full_perplexity)
    heard: list[tuple[str, int, int]] = []
    test = score(
        CELL.key,
        kept,
        corpus,
        tokens=trial.tokens,
        folder=tmp_path,
        report=lambda *said: heard.append(said),
    )
    assert heard[0] == ("score on test", 0, test.text_bytes)
    assert 0 < heard[-1][1] < test.text_bytes
    assert (test.cell, test.split, test.tokens) == (CELL.key, "test", trial.tokens)
    assert test.text_bytes == corpus.manifest.splits["test"].text_bytes
    assert test.bits_per_byte != dev.bits_per_byte
    with pytest.raises(CheckpointError, match=r"has 512 of the 1,024 tokens"):
        score(CELL.key, kept, corpus, tokens=1_024, folder=tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        score(CELL.key, "checkpoints/gone/512-0.pt", corpus, tokens=512, folder=tmp_path)
