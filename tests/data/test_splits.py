"""Where documents go."""

from __future__ import annotations

from collections import Counter

from data.splits import held_out_by_hash, shuffle_key, split_by_hash


def test_shares_are_90_5_5() -> None:
    counts = Counter(split_by_hash(f"document {i}".encode()) for i in range(20_000))
    assert abs(counts["train"] / 20_000 - 0.90) < 0.01
    assert abs(counts["dev"] / 20_000 - 0.05) < 0.01
    assert abs(counts["test"] / 20_000 - 0.05) < 0.01


def test_the_split_of_a_text_is_the_same_on_every_machine() -> None:
    splits = {number: split_by_hash(str(number).encode()) for number in range(60)}
    assert [number for number, split in splits.items() if split == "dev"] == [29]
    assert [number for number, split in splits.items() if split == "test"] == [18, 47, 55]


def test_one_held_out_split_is_halved() -> None:
    counts = Counter(held_out_by_hash(f"document {i}".encode()) for i in range(10_000))
    assert set(counts) == {"dev", "test"}
    assert abs(counts["dev"] / 10_000 - 0.5) < 0.02


def test_equal_texts_do_not_become_neighbours() -> None:
    assert len({shuffle_key(index, b"the same text") for index in range(100)}) == 100
