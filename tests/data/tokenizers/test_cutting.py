"""Long runs of characters are cut, ordinary text never."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.prepare import prepare
from data.sources.standard_library import StandardLibrary
from data.tokenizers.cutting import RUN, Cutting
from data.tokenizers.spec import TokenizerSpec

CUTTING = Cutting(runs=True)


def pieces(text: str, cutting: Cutting = CUTTING) -> list[str]:
    encoded = text.encode()
    return [piece.decode() for piece in cutting.pieces(encoded, 0, len(encoded))]


@pytest.mark.parametrize("character", [" ", "\n", "a", "é", "語", "7", "-", "_", "😀"])
@pytest.mark.parametrize("before", ["", "some words before ", "x" * (RUN - 1) + "."])
def test_a_long_run_is_cut(character: str, before: str) -> None:
    text = before + character * 10_000 + " and some words after"
    found = pieces(text)
    assert "".join(found) == text
    assert len(found) > 10_000 / (2 * RUN)
    assert max(piece.count(character) for piece in found) < 2 * RUN + len(before)


@pytest.mark.parametrize(
    "text",
    ["", "word", "a" * (RUN - 1), "ab 12 " * 1_000, "x, " * 1_000, "naïve 語 " * 500],
)
def test_ordinary_text_is_not_cut(text: str) -> None:
    assert pieces(text) == [text]


def test_source_code_is_not_cut() -> None:
    for document in StandardLibrary().documents():
        assert len(list(CUTTING.pieces(document.text, 0, len(document.text), 1 << 30))) == 1


def test_nothing_is_cut_unless_asked_for() -> None:
    assert pieces(" " * 10_000, Cutting()) == [" " * 10_000]


def test_a_corpus_with_a_long_run_is_prepared_in_its_length_not_in_its_square(
    tmp_path: Path, stories: Path
) -> None:
    """In its square each run of these would be 10^11 steps."""
    texts = [json.loads(line)["text"] for line in stories.read_text().splitlines()]
    long = " " * 400_000 + "\n" + "=" * 400_000 + "\n" + "o" * 400_000  # more than a piece
    for name in ("train", "dev", "test"):
        lines = [json.dumps({"text": text}) for text in (*texts, f"before {long} after")]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    corpus = prepare(str(tmp_path), TokenizerSpec(vocab_size=300), cache=tmp_path / "cache")
    split = corpus.split("dev")
    longest = int(split.document_bytes.argmax())
    start, end = split.document_offsets[longest : longest + 2]
    assert corpus.tokenizer().decode(split.tokens[start + 1 : end].tolist()) == (
        f"before {long} after"
    )
