"""Dev samples that a device holds: on the CPU, where the scores are the same bits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from data.batches import Batch, EvaluationDocuments
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from model.evaluation import bits_per_byte
from model.evaluation.bits_per_byte import evaluate
from model.evaluation.scored_batches import HeldDocuments
from model.training.hardware import Cpu
from model.training.held_text import SHARE_OF_FREE, Holding
from tests.tune_app.trial.running import Corpora, results, run_to_end
from tests.tune_app.trial.test_data_schedules import SMALL, corpora, name
from tune_app.plan.cell import Cell
from tune_app.trial import held_samples
from tune_app.trial.data import EVALUATION_BATCH, TOKENS_AT_ONCE, sample_of, sequences_at_once
from tune_app.trial.held_samples import BYTES_OF_A_TOKEN, MOST_SHARED, should_hold_samples
from tune_app.trial.trial import Trial

__all__ = ["corpora", "name"]  # fixtures

FREE = 10**9
USUAL = MOST_SHARED // BYTES_OF_A_TOKEN
LARGE = 3 * USUAL


@pytest.mark.parametrize(
    ("differing", "held", "reason"),
    [
        ({}, True, "they are at most 16.0 MB"),
        ({"share": 0.25, "free": 0}, True, "they are at most 16.0 MB"),
        ({"device": "cpu"}, False, "cpu is no GPU with a memory of its own"),
        ({"device": "mps"}, False, "mps is no GPU with a memory of its own"),
        ({"tokens": LARGE}, True, "they are up to 48.0 MB where 1,000 MB are free"),
        (
            {"tokens": LARGE, "free": 48_000_000 / SHARE_OF_FREE},
            True,
            "they are up to 48.0 MB where 960 MB are free",
        ),
        (
            {"tokens": LARGE, "free": 950_000_000},
            False,
            "they are up to 48.0 MB where 950 MB are free, over 5%",
        ),
        (
            {"tokens": LARGE, "share": 0.5},
            False,
            "other cells use this GPU too, and each would hold up to 48.0 MB",
        ),
    ],
)
def test_where_samples_are_held(differing: dict[str, Any], held: bool, reason: str) -> None:
    usual = {"device": "cuda:1", "tokens": USUAL, "free": FREE, "share": 1.0}
    found = should_hold_samples(**{**usual, **differing})
    assert (found.held, found.reason) == (held, reason)


def test_a_gpu_scores_more_sequences_at_once_unless_they_are_long() -> None:
    assert sequences_at_once("cpu", context=256) == EVALUATION_BATCH
    assert sequences_at_once("cuda:1", context=256) * 256 == TOKENS_AT_ONCE
    assert sequences_at_once("cuda", context=4_096) == EVALUATION_BATCH


@pytest.mark.parametrize("differing", [{}, {"document_masking": True}])
def test_held_samples_are_read_once_and_score_the_same_bits(
    name: str,
    corpora: Corpora,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    differing: dict[str, Any],
) -> None:
    cell = Cell.from_values(
        {**SMALL, "corpus": name, "mixture": "50/50", "mixture_surprise": 1.0, **differing}
    )
    read: list[EvaluationDocuments] = []
    iterate = EvaluationDocuments.__iter__

    def counted(documents: EvaluationDocuments) -> Iterator[Batch]:
        read.append(documents)
        return iterate(documents)

    monkeypatch.setattr(EvaluationDocuments, "__iter__", counted)
    undisturbed = results(run_to_end(Trial(cell, corpora=corpora)))
    samples = 3
    full = 3
    evaluations, at_the_start = 4, 2
    assert len(read) == evaluations * samples + full + at_the_start
    read.clear()
    monkeypatch.setattr(
        held_samples, "should_hold_samples", lambda **_: Holding(held=True, reason="as asked")
    )
    with caplog.at_level(logging.DEBUG):
        held = Trial(cell, corpora=corpora)
    assert "the dev samples are held by the device: as asked" in caplog.messages
    assert results(run_to_end(held)) == undisturbed
    assert len(read) == samples + full


def test_more_sequences_at_once_change_a_score_by_less_than_a_millionth(
    small_corpus: Path, cache: Path
) -> None:
    spec = TokenizerSpec(vocab_size=512)
    corpus: PreparedCorpus = prepare(str(small_corpus), spec, cache=cache)
    values = {key: value for key, value in SMALL.items() if key != "corpus"}
    trial = Trial(Cell.from_values(values), corpora=lambda tokenizer: corpus)
    run_to_end(trial)
    few, many = (
        HeldDocuments(
            sample_of(corpus, context=32, max_bytes=40_000, batch_size=size), device="cpu"
        )
        for size in (16, 128)
    )
    ours, theirs = (evaluate(trial._training.model, one).bits_per_byte for one in (many, few))
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_samples_are_scored_in_the_recorded_precision_and_all_of_dev_in_fp32(
    name: str, corpora: Corpora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cpu, "multiplies_bf16", lambda self, device: True)
    monkeypatch.setattr(Cpu, "multiplies_tf32", lambda self, device: True)
    told: list[str] = []
    products_in = bits_per_byte.products_in

    def watched(precision: str) -> AbstractContextManager[None]:
        told.append(precision)
        return products_in(precision)

    monkeypatch.setattr(bits_per_byte, "products_in", watched)
    values = {**SMALL, "corpus": name, "tokens": 256, "evaluations": 2}
    trial = Trial(Cell.from_values(values), corpora=corpora)
    run_to_end(trial)
    assert trial._state()["training"]["environment"]["evaluation"] == "tf32"
    first, last = ["tf32"] * 3, ["tf32", "fp32", "tf32", "tf32", "fp32", "fp32"]
    assert told == first + last, "dev and its two corpora; at the end also all of each"
