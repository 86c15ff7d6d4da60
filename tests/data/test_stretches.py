"""The stretches of a sample: from the whole split, the same for every order of its documents."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from data.prepare import prepare
from data.stretches import STRETCH_BYTES, choose, ends, hash_order
from data.tokenizers.spec import TokenizerSpec

WORDS = ["ein", "Wort", "über", "drei", "Sätze", "—", "naïve", "漢字", "und", "mehr.\n"]


def text_of(words: int, seed: int = 0) -> bytes:
    return " ".join(random.Random(seed).choices(WORDS, k=words)).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"x",
        b"short",
        text_of(40),
        text_of(5_000),
        b"x" * 10_000,
        "漢".encode() * 3_000,
        b" " * 3_000,
        b"\n" * 700 + text_of(300),
    ],
)
def test_stretches_are_all_of_a_text_in_valid_pieces_of_about_one_size(text: bytes) -> None:
    found = ends(b"before " + text + b" behind", 7, 7 + len(text))
    pieces = [text[a - 7 : b - 7] for a, b in zip([7, *found[:-1]], found, strict=True)]
    assert b"".join(pieces) == text
    for piece in pieces:
        assert piece.decode()
        if len(pieces) > 1:
            assert STRETCH_BYTES / 2 < len(piece) < STRETCH_BYTES * 1.5


def test_a_cut_is_in_front_of_white_space_that_follows_text() -> None:
    text = text_of(5_000)
    for end in ends(text, 0, len(text))[:-1]:
        assert text[end : end + 1].isspace() and not text[end - 1 : end].isspace()


def test_the_order_is_of_the_texts_alone() -> None:
    texts = [text_of(5, seed) for seed in range(50)] + [b"again and again"] * 20
    order = [texts[i] for i in hash_order(iter(texts))]
    shuffled = random.Random(1).sample(texts, len(texts))
    assert [shuffled[i] for i in hash_order(iter(shuffled))] == order
    assert sorted(order) == sorted(texts)


def test_a_text_that_repeats_is_spread_over_the_order() -> None:
    texts = [text_of(5, seed) for seed in range(100)] + [b"licence"] * 100
    places = np.flatnonzero(hash_order(iter(texts)) >= 100)
    assert 20 < np.median(places) < 180 and np.diff(places).max() < 30
    assert sorted(hash_order(iter([b"same"] * 30)).tolist()) == list(range(30))


@pytest.mark.parametrize(
    ("max_bytes", "stretches", "text_bytes"),
    [(1, 1, 500), (500, 1, 500), (1_099, 2, 1_000), (1_100, 3, 1_100), (10**9, 4, 1_150)],
)
def test_the_cap_takes_whole_stretches_in_order(max_bytes, stretches, text_bytes) -> None:
    choice = choose(np.array([500, 500, 100, 50]), max_bytes)
    assert (choice.stretches, choice.text_bytes) == (stretches, text_bytes)
    assert f"{text_bytes:,}" in choice.reason
    with pytest.raises(ValueError, match="max_bytes is 0"):
        choose(np.array([3]), 0)


def test_long_documents_fill_the_sample_with_the_same_text_for_every_tokenizer_and_order(
    tmp_path,
) -> None:
    books = [text_of(12_000, seed).decode() for seed in range(2)]
    found = []
    for folder, order in (("a", [0, 1]), ("b", [1, 0])):
        for name in ("train", "valid"):
            path = tmp_path / folder / f"{name}.jsonl"
            path.parent.mkdir(exist_ok=True)
            texts = [*(books[i] + name for i in order), "Front matter"]
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        for size in (280, 300):
            corpus = prepare(
                str(tmp_path / folder), TokenizerSpec(vocab_size=size), cache=tmp_path / "cache"
            )
            split = corpus.stretches()
            assert split.document_bytes.sum() == corpus.split("dev").document_bytes.sum()
            choice = choose(split.document_bytes, 32_768)
            assert 32_768 - 1.5 * STRETCH_BYTES < choice.text_bytes <= 32_768
            end = split.document_offsets[choice.stretches]
            decoded = corpus.tokenizer().decode(split.tokens[:end].tolist())
            assert len(decoded.encode()) == choice.text_bytes
            found.append(decoded)
    assert len(set(found)) == 1
