"""Batches: what order they come in, and that every token is scored once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from data.batches import DOCUMENTS, Batch, EvaluationDocuments, RandomBatches, TrainingBatches
from data.errors import CorpusError
from data.prepared import PackedSplit

END_OF_TEXT = 0


def split_of(lengths: list[int], document_bytes: list[int] | None = None) -> PackedSplit:
    """Documents of so many text tokens; token k of the whole text is k, so all differ."""
    stream: list[int] = []
    count = 0
    for length in lengths:
        stream += [END_OF_TEXT, *range(count + 1, count + length + 1)]
        count += length
    return PackedSplit(
        name="train",
        tokens=np.array(stream, dtype=np.uint16),
        document_offsets=np.cumsum([0, *(length + 1 for length in lengths)]),
        document_bytes=np.array(document_bytes or [3 * length for length in lengths]),
    )


def assert_equal(one: Batch, two: Batch) -> None:
    np.testing.assert_array_equal(one.inputs_BT, two.inputs_BT)
    np.testing.assert_array_equal(one.targets_BT, two.targets_BT)
    np.testing.assert_array_equal(one.mask_BT, two.mask_BT)


class TestBatch:
    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"targets_BT": np.zeros((2, 4), int)}, r"targets_BT has the shape \(2, 4\)"),
            ({"mask_BT": np.ones((1, 3), bool)}, r"mask_BT has the shape \(1, 3\)"),
            ({"extras": {"depth": np.zeros(3)}}, "the extra 'depth' .* the batch's 2 sequences"),
        ],
    )
    def test_arrays_that_do_not_belong_together_are_refused(self, arrays, message) -> None:
        tokens_BT = np.zeros((2, 3), int)
        whole = {"inputs_BT": tokens_BT, "targets_BT": tokens_BT}
        Batch(**whole, mask_BT=tokens_BT == 0, extras={"depth": np.zeros((2, 7))})
        with pytest.raises(ValueError, match=message):
            Batch(**{**whole, **arrays})


def test_random_batches_depend_on_the_step_alone() -> None:
    batches = RandomBatches(vocab_size=50, context=9, batch_size=4)
    assert batches.batch(3).inputs_BT.shape == (4, 9)
    assert batches.batch(3).inputs_BT.max() < 50
    assert_equal(batches.batch(3), batches.batch(3))
    assert not np.array_equal(batches.batch(3).inputs_BT, batches.batch(4).inputs_BT)


class TestTrainingBatches:
    def test_targets_are_one_token_ahead(self) -> None:
        split = split_of([40, 60])
        batch = TrainingBatches(split, context=8, batch_size=3, seed=0).batch(0)
        inputs_BT, targets_BT = batch.inputs_BT, batch.targets_BT
        assert batch.mask_BT is None and not batch.extras
        assert inputs_BT.shape == targets_BT.shape == (3, 8)
        assert inputs_BT.dtype == targets_BT.dtype == np.int64
        stream = split.tokens.tolist()
        for inputs_T, targets_T in zip(inputs_BT.tolist(), targets_BT.tolist(), strict=True):
            # Targets are unique unless they are end-of-text, so one of them finds the window.
            anchor = next(i for i, token in enumerate(targets_T) if token != END_OF_TEXT)
            start = stream.index(targets_T[anchor]) - anchor - 1
            assert start % 8 == 0
            assert stream[start : start + 8] == inputs_T
            assert stream[start + 1 : start + 9] == targets_T

    @pytest.mark.parametrize("batch_size", [1, 4, 7, 40])
    def test_an_epoch_has_every_window_once_and_epochs_differ(self, batch_size: int) -> None:
        batches = TrainingBatches(split_of([101]), context=10, batch_size=batch_size, seed=3)
        assert batches.windows == 10
        steps = range(0, -(-20 // batch_size))
        firsts = np.concatenate([batches.batch(step).inputs_BT[:, 0] for step in steps]).tolist()
        first, second = firsts[:10], firsts[10:20]
        assert sorted(first) == sorted(second) == list(range(0, 100, 10))
        assert first != second

    def test_what_is_left_at_the_end_is_dropped(self) -> None:
        assert TrainingBatches(split_of([99]), context=10, batch_size=1, seed=0).windows == 9
        assert TrainingBatches(split_of([100]), context=10, batch_size=1, seed=0).windows == 10

    def test_a_batch_depends_on_its_step_alone(self) -> None:
        split = split_of([500])
        straight = TrainingBatches(split, context=8, batch_size=5, seed=1)
        in_order = [straight.batch(step) for step in range(40)]
        resumed = TrainingBatches(split, context=8, batch_size=5, seed=1)
        for step in (39, 0, 17, 16, 39):
            assert_equal(resumed.batch(step), in_order[step])

    def test_the_seed_decides_the_order(self) -> None:
        split = split_of([500])
        one, two = (
            TrainingBatches(split, context=8, batch_size=5, seed=seed).batch(0) for seed in (1, 2)
        )
        assert not np.array_equal(one.inputs_BT, two.inputs_BT)

    def test_the_batch_size_does_not_change_the_order_of_windows(self) -> None:
        split = split_of([500])
        small, large = (
            TrainingBatches(split, context=8, batch_size=size, seed=1) for size in (2, 6)
        )
        np.testing.assert_array_equal(
            np.concatenate([small.batch(step).inputs_BT for step in range(3)]),
            large.batch(0).inputs_BT,
        )

    def test_a_context_longer_than_the_data(self) -> None:
        TrainingBatches(split_of([10]), context=10, batch_size=1, seed=0)
        with pytest.raises(CorpusError, match=r"context of 11 tokens is longer .* 'train'.* 10"):
            TrainingBatches(split_of([10]), context=11, batch_size=1, seed=0)

    @pytest.mark.parametrize(("name", "value"), [("context", 0), ("batch_size", -1), ("seed", -1)])
    def test_sizes_that_make_no_sense(self, name: str, value: int) -> None:
        sizes = {"context": 4, "batch_size": 2, "seed": 0, name: value}
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            TrainingBatches(split_of([10]), **sizes)


def evaluation(
    split: PackedSplit, context: int = 8, batch_size: int = 3, first: int | None = None
) -> EvaluationDocuments:
    return EvaluationDocuments(
        split, context=context, batch_size=batch_size, end_of_text=END_OF_TEXT, first=first
    )


class TestEvaluationDocuments:
    @pytest.mark.parametrize("lengths", [[20], [1, 1, 30], [5, 7, 11, 2], [24, 23], [100] * 9])
    @pytest.mark.parametrize("context", [1, 4, 8])
    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_every_text_token_is_scored_once(self, lengths, context, batch_size) -> None:
        documents = evaluation(split_of(lengths), context, batch_size)
        scored: Counter[int] = Counter()
        batches = 0
        for batch in documents:
            shapes = {a.shape for a in (batch.inputs_BT, batch.targets_BT, batch.mask_BT)}
            assert shapes == {(batch_size, context)}
            scored.update(batch.targets_BT[batch.mask_BT].tolist())
            batches += 1
        assert scored == Counter(range(1, sum(lengths) + 1))
        assert documents.tokens == sum(lengths)
        assert documents.text_bytes == 3 * sum(lengths)
        assert documents.documents == len(lengths)
        assert len(documents) == batches

    def test_the_first_token_of_a_document_is_predicted_from_end_of_text(self) -> None:
        for batch in evaluation(split_of([5, 7, 11])):
            inputs_S, targets_S = batch.inputs_BT[batch.mask_BT], batch.targets_BT[batch.mask_BT]
            for before, target in zip(inputs_S.tolist(), targets_S.tolist(), strict=True):
                assert before == (END_OF_TEXT if target in (1, 6, 13) else target - 1)

    def test_with_masks_it_says_which_document_a_position_is_of(self) -> None:
        split = split_of([5, 7, 10])
        documents = EvaluationDocuments(
            split, context=8, batch_size=3, end_of_text=END_OF_TEXT, document_masking=True
        )
        (batch,) = documents
        assert batch.extras[DOCUMENTS].tolist() == [
            [1, 1, 1, 1, 1, 1, 2, 2],
            [0, 0, 0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ]
        assert not evaluation(split).__iter__().__next__().extras
        of_training = TrainingBatches(
            split, context=8, batch_size=2, seed=0, end_of_text=END_OF_TEXT
        ).batch(0)
        expected = (of_training.inputs_BT == END_OF_TEXT).cumsum(axis=1)
        assert of_training.extras[DOCUMENTS].tolist() == expected.tolist()

    def test_it_can_be_gone_through_again(self) -> None:
        documents = evaluation(split_of([30, 30]))
        for one, two in zip(documents, documents, strict=True):
            assert_equal(one, two)

    @pytest.mark.parametrize("first", [1, 2, 4])
    def test_the_first_documents_alone_in_as_many_sequences_as_they_need(self, first: int) -> None:
        split = split_of([9, 8, 7, 40], [30, 10, 30, 5])
        documents = evaluation(split, first=first)
        end = split.document_offsets[first]
        assert documents.documents == first
        assert documents.text_bytes == sum([30, 10, 30, 5][:first])
        assert documents.tokens_D.tolist() == [9, 8, 7, 40][:first]
        found = [t for batch in documents for t in batch.targets_BT[batch.mask_BT].tolist()]
        assert found == [token for token in split.tokens[:end] if token != END_OF_TEXT]
        assert sum(len(batch.inputs_BT) for batch in documents) == -(-(end - 1) // 8)

    def test_a_context_longer_than_the_data(self) -> None:
        with pytest.raises(CorpusError, match="context of 11 tokens is longer"):
            evaluation(split_of([10]), context=11)

    def test_no_document_at_all(self) -> None:
        with pytest.raises(ValueError, match="first is 0"):
            evaluation(split_of([10]), first=0)
