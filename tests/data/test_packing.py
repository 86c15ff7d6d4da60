"""What a prepared split holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.display import corpus_facts
from data.division import split_by_bytes
from data.errors import CorpusError
from data.packing import token_type
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.sources.base import Document
from data.splits import SPLITS
from data.tokenizers.spec import TokenizerSpec


@pytest.fixture
def prepared(stories: Path, tmp_path: Path) -> PreparedCorpus:
    return prepare(str(stories), TokenizerSpec(vocab_size=300), cache=tmp_path / "cache")


def documents_of(corpus: PreparedCorpus, name: str) -> list[str]:
    split = corpus.split(name)
    tokenizer = corpus.tokenizer()
    spans = zip(split.document_offsets[:-1], split.document_offsets[1:], strict=True)
    return [tokenizer.decode(split.tokens[a + 1 : b].tolist()) for a, b in spans]


def test_every_document_comes_back_from_its_tokens(prepared, stories) -> None:
    expected = [json.loads(line)["text"] for line in stories.read_text().splitlines()]
    found = [text for name in SPLITS for text in documents_of(prepared, name)]
    assert sorted(found) == sorted(expected)


def test_each_document_is_preceded_by_end_of_text_and_holds_no_other(prepared) -> None:
    for name in SPLITS:
        split = prepared.split(name)
        ends = np.flatnonzero(split.tokens == prepared.end_of_text)
        assert ends.tolist() == split.document_offsets[:-1].tolist()
        assert split.document_offsets[-1] == len(split.tokens)


def test_the_manifest_counts_what_is_there(prepared) -> None:
    for name in SPLITS:
        record, split = prepared.manifest.splits[name], prepared.split(name)
        texts = documents_of(prepared, name)
        assert record.documents == len(texts)
        assert record.text_bytes == sum(len(text.encode()) for text in texts)
        assert split.document_bytes.tolist() == [len(text.encode()) for text in texts]
        assert record.tokens == len(split.tokens)
        text_tokens = np.diff(split.document_offsets) - 1
        assert record.tokens_per_document["max"] == text_tokens.max()
        assert prepared.bytes_per_token(name) == record.text_bytes / text_tokens.sum()


def test_the_order_is_shuffled_and_the_same_for_every_vocabulary(stories, tmp_path) -> None:
    orders = [
        documents_of(
            prepare(str(stories), TokenizerSpec(vocab_size=size), cache=tmp_path / "cache"), "train"
        )
        for size in (260, 300)
    ]
    assert orders[0] == orders[1]
    in_file = [json.loads(line)["text"] for line in stories.read_text().splitlines()]
    assert orders[0] != [text for text in in_file if text in set(orders[0])]


def test_end_of_text_spelled_out_in_a_document_stays_text(tmp_path) -> None:
    for name in SPLITS:
        text = json.dumps({"text": "before <|endoftext|> after"}) + "\n"
        (tmp_path / f"{name}.jsonl").write_text(text)
    corpus = prepare(str(tmp_path), TokenizerSpec(vocab_size=257), cache=tmp_path / "cache")
    split = corpus.split("train")
    assert np.flatnonzero(split.tokens == corpus.end_of_text).tolist() == [0]
    assert documents_of(corpus, "train") == ["before <|endoftext|> after"]


def test_a_document_longer_than_a_piece(tmp_path) -> None:
    line = "a line of many in one long document\n"
    (tmp_path / "train.txt").write_text(line * 70_000)
    (tmp_path / "dev.txt").write_text(line)
    (tmp_path / "test.txt").write_text(line)
    corpus = prepare(str(tmp_path), TokenizerSpec(vocab_size=270), cache=tmp_path / "cache")
    assert corpus.manifest.splits["train"].documents == 1
    assert documents_of(corpus, "train") == [(line * 70_000).rstrip("\n")]


def test_tokens_are_as_narrow_as_the_vocabulary_allows() -> None:
    assert token_type(1 << 16) == np.uint16
    assert token_type((1 << 16) + 1) == np.uint32


@pytest.mark.parametrize("blank", ["", "  \\n\\t"])
def test_blank_documents_are_left_out(tmp_path, blank) -> None:
    for name in SPLITS:
        (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "text"}}\n{{"text": "{blank}"}}\n')
    corpus = prepare(str(tmp_path), TokenizerSpec(vocab_size=257), cache=tmp_path / "cache")
    assert corpus.manifest.splits["train"].documents == 1


def test_a_corpus_of_blank_documents(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": ""}\n{"text": "  "}\n')
    with pytest.raises(CorpusError, match="no text: its 2 documents are blank"):
        prepare(str(path), TokenizerSpec(vocab_size=257), cache=tmp_path / "cache")


def test_a_corpus_too_small_for_three_splits(tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("only one document")
    with pytest.raises(CorpusError, match=r"split 'dev' of .* has no text .*needs 2,000 bytes"):
        prepare(str(path), TokenizerSpec(vocab_size=257), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/*"))


def test_a_few_documents_are_split_by_bytes(tmp_path, story) -> None:
    path = tmp_path / "a.txt"
    texts = [story(number, words=1_000) for number in range(3)]
    path.write_text("\n<|endoftext|>\n".join(texts))
    corpus = prepare(str(path), TokenizerSpec(vocab_size=300), cache=tmp_path / "cache")
    splits = corpus.manifest.splits
    size = sum(map(len, texts))
    for name, share in (("train", 0.9), ("dev", 0.05), ("test", 0.05)):
        assert splits[name].text_bytes == pytest.approx(share * size, abs=0.01 * size)
    assert sum(split.text_bytes for split in splits.values()) == size
    assert "3 documents are too few to split by a hash" in corpus.manifest.splitting
    text = (
        documents_of(corpus, "train") + documents_of(corpus, "dev") + documents_of(corpus, "test")
    )
    assert sorted("".join(text)) == sorted("".join(texts))
    # A prefix of the text trains, and none of it is scored.
    assert "".join(texts).endswith("".join(documents_of(corpus, "test")))


@pytest.mark.parametrize("sizes", [[2_000], [1, 1_999], [1_800, 100, 100], [700] * 3, [90] * 40])
@pytest.mark.parametrize("word", ["ab\n", "语言 ", "é", "x"])
def test_by_bytes_nothing_is_lost_and_characters_stay_whole(sizes: list[int], word: str) -> None:
    texts = [
        (word * size).encode()[: size // len(word.encode()) * len(word.encode())] or b"y"
        for size in sizes
    ]
    documents = [Document("train", text) for text in (*texts, None, b" \n")]
    total = sum(map(len, texts))
    found = list(split_by_bytes(documents, total))
    assert b"".join(one.text or b"" for one in found) == b"".join(texts)
    assert [one.split for one in found] == sorted((one.split for one in found), key=SPLITS.index)
    for one in found:
        assert one.text and one.text.decode()
    for name, share in (("train", 0.9), ("dev", 0.05), ("test", 0.05)):
        size = sum(len(one.text or b"") for one in found if one.split == name)
        assert abs(size - share * total) <= 0.0125 * total + 4


def test_what_is_left_out_is_counted(tmp_path, story) -> None:
    path = tmp_path / "a.jsonl"
    rows = [story(number) for number in range(200)] + [None] * 30 + [" "] * 2
    path.write_text("".join(json.dumps({"review": row}) + "\n" for row in rows))
    spec = TokenizerSpec(vocab_size=300)
    manifest = prepare(f"{path}:review", spec, cache=tmp_path / "cache").manifest
    assert (manifest.null_documents, manifest.blank_documents) == (30, 2)
    assert ("left out", "30 null and 2 blank documents") in corpus_facts(manifest)


def test_a_corpus_without_a_test_split(tmp_path, story) -> None:
    for name in ("train", "val"):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(story(i) for i in range(50)) + name)
    (tmp_path / "test.txt").write_text("\n")
    spec = TokenizerSpec(vocab_size=300)
    for _ in range(2):  # built, then read back
        corpus = prepare(str(tmp_path), spec, cache=tmp_path / "cache")
        assert list(corpus.manifest.splits) == ["train", "dev"]
        assert not corpus.has_test
    assert not list(corpus.folder.glob("*test*"))
    (tmp_path / "test.txt").unlink()
    without = prepare(str(tmp_path), spec, cache=tmp_path / "cache")
    assert not without.has_test
    assert dict(corpus_facts(without.manifest))["test"].startswith("none")
