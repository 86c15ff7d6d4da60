"""Batches under a mixture and a curriculum: what text they have, and that each is there once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from data.batches import DOCUMENTS, TrainingBatches
from data.curriculum import Curriculum, WantedStage
from data.errors import CorpusError
from data.mixture import Mixture, Span
from data.prepared import PackedSplit
from data.scheduled_batches import ScheduledBatches

CONTEXT = 16


def split_of(tokens: int, first: int = 1) -> PackedSplit:
    """One document whose tokens all differ."""
    return PackedSplit(
        name="train",
        tokens=np.arange(first, first + tokens, dtype=np.uint32),
        document_offsets=np.array([0, tokens]),
        document_bytes=np.array([3 * tokens]),
    )


def curriculum(*wanted: WantedStage, tokens: int = 3_200) -> Curriculum:
    return Curriculum(wanted, context=CONTEXT, batch_size=4, tokens=tokens)


STAGES = (WantedStage(amount=0.25, length=4), WantedStage(amount=0.25, length=8, batch_size=3))


def test_without_stages_one_corpus_has_the_batches_that_it_always_had() -> None:
    split = split_of(1_000)
    plain = TrainingBatches(split, context=CONTEXT, batch_size=4, seed=3)
    same = ScheduledBatches([split], curriculum=curriculum(), mixture=None, seed=3)
    for step in (0, 5, 40):
        np.testing.assert_array_equal(plain.batch(step).inputs_BT, same.batch(step).inputs_BT)


@pytest.mark.parametrize("mixed", [False, True], ids=["one", "mixed"])
def test_no_text_is_seen_twice_before_all_of_its_corpus_is_used(mixed: bool) -> None:
    splits = [split_of(6_000), split_of(6_000, first=100_000)][: 2 if mixed else 1]
    mixture = Mixture([Span(first=0, begin=(0.75, 0.25), end=(0.75, 0.25))]) if mixed else None
    stages = curriculum(*STAGES)
    batches = ScheduledBatches(splits, curriculum=stages, mixture=mixture, seed=0)
    shapes, seen = [], Counter[int]()
    for step in range(stages.stages[-1].first_step + 20):
        batch = batches.batch(step)
        shapes.append(batch.inputs_BT.shape)
        assert len(batch.inputs_BT) == batches.sequences(step)
        np.testing.assert_array_equal(batch.targets_BT, batch.inputs_BT + 1)
        seen.update(batch.inputs_BT.ravel().tolist())
    assert list(dict.fromkeys(shapes)) == [(16, 4), (3, 8), (4, 16)]
    assert set(seen.values()) == {1}
    if mixed:
        share = sum(token < 100_000 for token in seen) / len(seen)
        assert share == pytest.approx(0.75, abs=0.01)


def test_a_batch_depends_on_its_step_alone() -> None:
    mixture = Mixture([Span(first=0, begin=(0.5, 0.5), end=(0.5, 0.5))])

    def batches() -> ScheduledBatches:
        splits = [split_of(500), split_of(300, first=1_000)]
        return ScheduledBatches(
            splits, curriculum=curriculum(*STAGES), mixture=mixture, seed=1, end_of_text=7
        )

    one = batches()
    for step in (70, 3, 40, 3):
        for name in ("inputs_BT", "targets_BT"):
            np.testing.assert_array_equal(
                getattr(one.batch(step), name), getattr(batches().batch(step), name)
            )
    assert one.batch(0).extras[DOCUMENTS].shape == (16, 4)


def test_shares_that_change_leave_earlier_steps_as_they_are() -> None:
    mixture = Mixture([Span(first=0, begin=(0.5, 0.5), end=(0.5, 0.5))])
    splits = [split_of(6_000), split_of(6_000, first=100_000)]
    batches = ScheduledBatches(splits, curriculum=curriculum(*STAGES), mixture=mixture, seed=0)
    before = [batches.batch(step).inputs_BT for step in range(30)]
    batches.batch(70)
    batches.shares_from(30, (1.0, 0.0))
    for step, inputs_BT in enumerate(before):
        np.testing.assert_array_equal(batches.batch(step).inputs_BT, inputs_BT)
    assert all(batches.batch(step).inputs_BT.max() < 100_000 for step in range(32, 80))


def test_a_corpus_without_a_whole_window_is_refused() -> None:
    with pytest.raises(CorpusError, match="a context of 16 tokens is longer than the split"):
        ScheduledBatches(
            [split_of(500), split_of(10)], curriculum=curriculum(), mixture=None, seed=0
        )
