"""Batches that a device makes from a text that it holds: on the CPU, where all devices agree."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.batches import TrainingBatches
from data.chunks import ChunkedTokens
from data.curriculum import Curriculum, WantedStage
from data.mixture import Mixture, Span
from data.prepared import PackedSplit
from data.scheduled_batches import ScheduledBatches
from model.network.batch import TensorBatch
from model.training import held_text
from model.training.held_text import MOST_UNREAD, SHARE_OF_FREE, HeldText, should_hold
from model.training.training import Training
from tests.model.training.test_training import BATCH, CONFIG, SETTINGS, train
from tune_app.trial import held_batches

CONTEXT = CONFIG.context
STAGES = (WantedStage(amount=0.25, length=4), WantedStage(amount=0.25, length=8, batch_size=3))


def split_of(tokens: np.ndarray | ChunkedTokens) -> PackedSplit:
    return PackedSplit(
        name="train",
        tokens=tokens,
        document_offsets=np.array([0, len(tokens)]),
        document_bytes=np.array([3 * len(tokens)]),
    )


def text(size: int, *, vocab_size: int, dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(size).integers(vocab_size, size=size).astype(dtype)


def placed_batches(
    *, vocab_size: int, context: int, end_of_text: int | None = None
) -> TrainingBatches:
    split = split_of(text(5_000, vocab_size=vocab_size))
    return TrainingBatches(
        split, context=context, batch_size=BATCH, seed=3, end_of_text=end_of_text
    )


def chunked() -> TrainingBatches:
    chunks = [text(1_000, vocab_size=2**16), text(700, vocab_size=2**16)]
    return TrainingBatches(
        split_of(ChunkedTokens(chunks, start=300, stop=1_650)),
        context=CONTEXT,
        batch_size=5,
        seed=1,
    )


def scheduled() -> ScheduledBatches:
    """Two corpora, one of them in chunks, and stages of other lengths and batches."""
    first = text(900, vocab_size=2**16)
    second = ChunkedTokens([text(400, vocab_size=2**16), text(300, vocab_size=2**16)])
    return ScheduledBatches(
        [split_of(first), split_of(second)],
        curriculum=Curriculum(STAGES, context=CONTEXT, batch_size=4, tokens=3_200),
        mixture=Mixture([Span(first=0, begin=(0.6, 0.4), end=(0.3, 0.7))]),
        seed=1,
        end_of_text=7,
    )


def wide() -> TrainingBatches:
    split = split_of(text(3_000, vocab_size=200_000, dtype=np.uint32))
    return TrainingBatches(split, context=CONTEXT, batch_size=4, seed=0)


@pytest.mark.parametrize(
    "made",
    [
        lambda: placed_batches(vocab_size=2**16, context=CONTEXT),
        lambda: placed_batches(vocab_size=30, context=CONTEXT, end_of_text=7),
        chunked,
        scheduled,
        wide,
    ],
    ids=["uint16", "documents", "chunked", "scheduled", "uint32"],
)
def test_the_batches_are_those_of_the_host(
    made: Callable[[], TrainingBatches | ScheduledBatches], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_text, "_PIECE", 256)
    source = made()
    held = HeldText(source, device="cpu")
    for step in (0, 1, 17, 60, 400):
        ours, theirs = held.batch(step), TensorBatch.of(source.batch(step), device="cpu")
        assert ours.scored_B == theirs.scored_B and ours.mask_BT is theirs.mask_BT is None
        assert ours.extras.keys() == theirs.extras.keys()
        names = ("inputs_BT", "targets_BT")
        pairs = [(getattr(ours, name), getattr(theirs, name)) for name in names]
        pairs += [(ours.extras[name], theirs.extras[name]) for name in ours.extras]
        for one, other in pairs:
            assert one.dtype == other.dtype and one.is_contiguous()
            assert torch.equal(one, other)


def test_a_text_on_the_device_trains_the_same_bits() -> None:
    def losses(*, on_the_device: bool) -> list[float]:
        source = placed_batches(vocab_size=CONFIG.vocab_size, context=CONTEXT)
        batches = HeldText(source, device="cpu") if on_the_device else source
        training = Training(CONFIG, SETTINGS, batches, baseline=CONFIG)
        return [result.loss for result in train(training, steps=5)]

    assert losses(on_the_device=True) == losses(on_the_device=False)


def test_shares_that_change_later_are_followed() -> None:
    source = scheduled()
    held = HeldText(source, device="cpu")
    before = held.batch(300).inputs_BT
    source.shares_from(280, (0.0, 1.0))
    after = held.batch(300).inputs_BT
    assert not torch.equal(before, after)
    assert np.array_equal(after.numpy(), source.batch(300).inputs_BT)


FREE = 10**9
TEXT = np.zeros(1_000_000, dtype=np.uint16)


@pytest.mark.parametrize(
    ("differing", "held", "reason"),
    [
        ({}, True, "it is 2.0 MB where 1,000 MB are free"),
        ({"free": 2_000_000 / SHARE_OF_FREE}, True, "it is 2.0 MB where 40 MB are free"),
        ({"free": 39_000_000}, False, "it is 2.0 MB where 39 MB are free, over 5%"),
        ({"device": "cpu"}, False, "cpu is no GPU with a memory of its own"),
        ({"device": "mps"}, False, "mps is no GPU with a memory of its own"),
        ({"share": 0.24}, False, "other cells use this GPU too, and each would hold a copy"),
        ({"processes": 4}, False, "one of 4 processes reads it for all of them"),
        ({"tokens": 1_000_000 // MOST_UNREAD}, True, "it is 2.0 MB where 1,000 MB are free"),
        ({"tokens": 90_000}, False, "only 90,000 of its 1,000,000 tokens are trained on"),
    ],
)
def test_where_a_text_is_held(differing: dict[str, object], held: bool, reason: str) -> None:
    usual = {"device": "cuda:1", "tokens": 10**6, "processes": 1, "free": FREE, "share": 1.0}
    found = should_hold(text=TEXT, **{**usual, **differing})  # type: ignore[arg-type]
    assert (found.held, found.reason) == (held, reason)


def test_a_trial_on_a_gpu_says_where_its_text_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    moved = []
    monkeypatch.setattr(held_batches, "free_memory", lambda device: FREE)
    monkeypatch.setattr(held_batches, "HeldText", lambda source, device: moved.append(device))
    source = placed_batches(vocab_size=30, context=CONTEXT)
    data = SimpleNamespace(batches=source, tokens=5_000)
    for share in (1.0, 0.5):
        monkeypatch.setattr(held_batches, "memory_share", lambda device, share=share: share)
        with caplog.at_level(logging.INFO):
            found = held_batches.batches_of(data, device="cuda", processes=1)  # type: ignore[arg-type]
    assert moved == ["cuda"] and found is source
    assert [record.getMessage() for record in caplog.records] == [
        "the text of the batches is held by the device: it is 0.0 MB where 1,000 MB are free",
        "the text of the batches is read from the host's memory: other cells use this GPU too, and "
        "each would hold a copy",
    ]
