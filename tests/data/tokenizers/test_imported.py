"""Tokenizers that were trained elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.processors import TemplateProcessing

from data.errors import CorpusError
from data.prepare import prepare
from data.tokenizers.base import kind_of
from data.tokenizers.spec import TokenizerSpec

TEXTS = ["Seven wizards and seven Dogs jump over <|endoftext|> lazy boxes, 3.14 times.\n"] * 20


@pytest.fixture
def tokenizer() -> Tokenizer:
    return kind_of(TokenizerSpec(vocab_size=300)).train([TEXTS])


@pytest.fixture
def file(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def imported(path: Path, vocab_size: int = 300, **options: str) -> TokenizerSpec:
    return TokenizerSpec(
        kind="imported", vocab_size=vocab_size, options={"file": str(path), **options}
    ).resolved()


def test_it_gives_the_tokens_of_its_file(tokenizer: Tokenizer, file: Path) -> None:
    kind = kind_of(imported(file))
    again = kind.train([TEXTS])
    assert again.encode(TEXTS[0]).ids == tokenizer.encode(TEXTS[0]).ids
    assert kind.end_of_text(again) == 0


def test_what_it_would_add_to_a_text_is_left_out(tokenizer: Tokenizer, file: Path) -> None:
    ids = tokenizer.encode(TEXTS[0]).ids
    tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    tokenizer.enable_truncation(3)
    tokenizer.save(str(file))
    again = kind_of(imported(file)).train([TEXTS])
    assert again.encode_batch_fast(TEXTS[:1], add_special_tokens=False)[0].ids == ids


def test_a_corpus_is_prepared_with_it(file: Path, stories: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    corpus = prepare(str(stories), imported(file), cache=cache)
    own = prepare(str(stories), TokenizerSpec(vocab_size=300), cache=cache)
    assert corpus.folder != own.folder
    assert corpus.manifest.corpus_sha256 == own.manifest.corpus_sha256
    split = corpus.split("dev")
    text = corpus.tokenizer().decode(split.tokens[1 : split.document_offsets[1]].tolist())
    assert text in {json.loads(line)["text"] for line in stories.read_text().splitlines()}
    moved = file.rename(tmp_path / "moved.json")
    assert prepare(str(stories), imported(moved), cache=cache) == corpus


def test_another_size_is_told(file: Path) -> None:
    with pytest.raises(CorpusError, match="has 300 tokens, not 301; ask for a vocabulary of 300"):
        kind_of(imported(file, vocab_size=301)).train([TEXTS])


def test_a_file_that_changed_is_refused(file: Path) -> None:
    spec = imported(file)
    file.write_text(file.read_text() + "\n")
    with pytest.raises(CorpusError, match="not the tokenizer that was asked for"):
        kind_of(spec).train([TEXTS])


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    with pytest.raises(CorpusError, match=r"a\.json is not a tokenizer\.json"):
        kind_of(imported(path)).train([TEXTS])


def test_a_tokenizer_that_loses_text_is_refused(tokenizer: Tokenizer, file: Path) -> None:
    tokenizer.normalizer = Lowercase()
    tokenizer.save(str(file))
    with pytest.raises(CorpusError, match="does not give back the corpus' text exactly"):
        kind_of(imported(file)).train([TEXTS])


def test_end_of_text_may_have_another_name(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({"a": 0}, unk_token="a"))
    tokenizer.decoder = WordPieceDecoder()
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(tmp_path / "a.json"))
    with pytest.raises(CorpusError, match=r"option 'end_of_text' to one of '</s>'"):
        kind_of(imported(tmp_path / "a.json", 2)).train([["a"]])
    kind = kind_of(imported(tmp_path / "a.json", 2, end_of_text="</s>"))
    assert kind.end_of_text(kind.train([["a"]])) == 1


def test_it_needs_a_file_and_takes_no_other_option(file: Path) -> None:
    with pytest.raises(CorpusError, match="needs the option 'file'"):
        kind_of(TokenizerSpec(kind="imported", vocab_size=300))
    with pytest.raises(CorpusError, match="unknown option 'lower' of the tokenizer imported"):
        kind_of(imported(file, lower="yes"))
    with pytest.raises(CorpusError, match=r"unknown option 'lower' .* expected one of none"):
        kind_of(TokenizerSpec(vocab_size=300, options={"lower": True}))
