"""Tokenizers that were trained elsewhere."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteFallback, Fuse, Strip
from tokenizers.decoders import Replace as Replaced
from tokenizers.decoders import Sequence as Decoders
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.normalizers import NFC, Lowercase, Prepend, Replace
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.processors import TemplateProcessing

from data.errors import CorpusError
from data.prepare import prepare
from data.tokenizers.base import kind_of
from data.tokenizers.files import LARGEST_FILE
from data.tokenizers.spec import TokenizerSpec, named

TEXTS = ["Seven wizards and seven Dogs jump over <|endoftext|> lazy boxes, 3.14 times.\n"] * 20


@pytest.fixture
def tokenizer() -> Tokenizer:
    return kind_of(TokenizerSpec(vocab_size=300)).train([TEXTS])


@pytest.fixture
def file(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def words(folder: Path, end: str) -> Path:
    """A tokenizer of the word `a` and a special token."""
    tokenizer = Tokenizer(WordLevel({"a": 0}, unk_token="a"))
    tokenizer.decoder = WordPieceDecoder()
    tokenizer.add_special_tokens([end])
    tokenizer.save(str(folder / "words.json"))
    return folder / "words.json"


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


def test_a_text_behind_the_probe_is_checked_too(tokenizer: Tokenizer, file: Path) -> None:
    tokenizer.normalizer = Lowercase()
    tokenizer.save(str(file))
    kind = kind_of(imported(file))
    probed = kind.train([["seven"]])
    with pytest.raises(CorpusError, match="'seven Dogs' becomes 'seven dogs'"):
        kind.encode(probed, ["and", "seven Dogs"])


@pytest.mark.parametrize("name", ["</s>", "<|end_of_text|>", "[SEP]"])
def test_end_of_text_is_found_by_its_usual_names(tmp_path: Path, name: str) -> None:
    kind = kind_of(imported(words(tmp_path, name), 2))
    assert kind.end_of_text(kind.train([["a"]])) == 1


def test_end_of_text_may_have_another_name(tmp_path: Path) -> None:
    path = words(tmp_path, "<end>")
    with pytest.raises(CorpusError, match=r"option 'end_of_text' to one of '<end>'"):
        kind_of(imported(path, 2)).train([["a"]])
    with pytest.raises(CorpusError, match=r"no special token '</s>', which begins each document"):
        kind_of(imported(path, 2, end_of_text="</s>")).train([["a"]])
    with pytest.raises(CorpusError, match="'end_of_text' is 3; it must be the name of a token"):
        kind_of(TokenizerSpec(kind="imported", options={"file": str(path), "end_of_text": 3}))
    kind = kind_of(imported(path, 2, end_of_text="<end>"))
    assert kind.end_of_text(kind.train([["a"]])) == 1


def test_without_special_tokens_it_is_refused(tmp_path: Path) -> None:
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "a.json"))
    with pytest.raises(
        CorpusError, match=r"has no special token for end-of-text .* import another"
    ):
        kind_of(imported(tmp_path / "a.json", 1)).train([["a"]])


def test_one_like_qwens_keeps_text_that_is_not_composed(
    tokenizer: Tokenizer, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """NFC, and added tokens of which some are not special."""
    tokenizer.normalizer = Normalizers([NFC()])
    tokenizer.add_special_tokens(["<|im_start|>"])
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    tokenizer.save(str(file))
    assert named(str(file)).vocab_size == 302
    kind = kind_of(imported(file, 302))
    again = kind.train([TEXTS])
    assert "normalizer (NFC) is left out" in caplog.text
    texts = ["cafe\u0301 <think> <|im_start|> <|endoftext|>", "caf\u00e9 \ufb01", "\u212b  "]
    found = kind.encode(again, texts)
    assert kind.end_of_text(again) not in {token for ids in found for token in ids}
    assert 301 in found[0]
    assert found[1] == tokenizer.encode(texts[1]).ids, "composed text has the tokens it had"


def test_one_like_sentencepieces_is_exact_through_its_bytes(tmp_path: Path) -> None:
    """Spaces are written as letters, and unknown characters as bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a"]
    vocabulary = {piece: token for token, piece in enumerate(pieces)}
    bpe = BPE(vocabulary, [("▁", "a")], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = Normalizers([Prepend("▁"), Replace(" ", "▁")])
    tokenizer.decoder = Decoders([Replaced("▁", " "), ByteFallback(), Fuse(), Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(tmp_path / "llama.json"))
    kind = kind_of(imported(tmp_path / "llama.json", len(pieces)))
    again = kind.train([["a a", "  a"]])
    assert kind.end_of_text(again) == 2
    (ids,) = kind.encode(again, [" a </s> é\U0001f600\n"])
    assert not {0, 1, 2} & set(ids)
    with pytest.raises(CorpusError, match="'a▁a' becomes 'a a'"):
        kind.encode(again, ["a▁a"])


def test_text_that_it_cannot_encode_is_told(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({"a": 0}))
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(tmp_path / "a.json"))
    kind = kind_of(imported(tmp_path / "a.json", 2))
    with pytest.raises(CorpusError, match=r"a\.json cannot encode the corpus' text \("):
        kind.train([["b"]])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"model": {}}',
        b'{"model": {"vocab": {}}}',
        b'{"model": {"vocab": 3}}',
        b'{"model": {"vocab": {"a": "0"}}}',
        b'{"model": {"vocab": {"a": -1}}}',
        b'{"model": {"vocab": {"a": true}}}',
        b'{"model": {"vocab": {"a": 0}}, "added_tokens": [7]}',
        b"[" * 100_000,
    ],
)
def test_other_files_are_no_tokenizers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    for use in (lambda: named(str(path)), lambda: kind_of(imported(path)).train([TEXTS])):
        with pytest.raises(CorpusError, match=r"a\.json is not a tokenizer\.json") as told:
            use()
        assert "\n" not in str(told.value)


def test_ids_that_contradict_each_other_are_refused(file: Path) -> None:
    saved = json.loads(file.read_text())
    saved["added_tokens"][0]["id"] = 300
    file.write_text(json.dumps(saved))
    with pytest.raises(CorpusError, match="ids of its tokens contradict each other"):
        kind_of(named(str(file)).resolved()).train([TEXTS])


def test_a_file_that_is_cut_off_or_altered_is_refused_or_exact(file: Path) -> None:
    content = file.read_bytes()
    chosen = random.Random(0)
    for number in range(60):
        altered = bytearray(content)
        if number % 2:
            del altered[chosen.randrange(len(altered)) :]
        else:
            start = chosen.randrange(len(altered))
            altered[start : start + chosen.randrange(1, 9)] = chosen.choice([b"null", b'"', b"9"])
        file.write_bytes(altered)
        kind = kind_of(imported(file))
        with suppress(CorpusError):
            kind.encode(kind.train([TEXTS]), TEXTS[:1])


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as sparse:
        sparse.truncate(LARGEST_FILE + 1)
    with pytest.raises(CorpusError, match=r"has 536,870,913 bytes, too many for a tokenizer\.json"):
        imported(tmp_path / "a.json")


def test_a_folder_and_the_hub_have_files_too(
    file: Path, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = imported(file)
    assert (
        TokenizerSpec(
            kind="imported", vocab_size=300, options={"file": str(file.parent)}
        ).resolved()
        == spec
    )
    download = partial(
        huggingface_hub.hf_hub_download, endpoint=hub.endpoint, cache_dir=tmp_path / "hub"
    )
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    hub.files["makers/small"] = {"tokenizer.json": file.read_bytes()}
    hub.files["makers/old"] = {"vocab.txt": b"a"}
    asked = named("hf:makers/small")
    assert (asked.vocab_size, asked.resolved()) == (300, spec)
    kind = kind_of(named("hf:makers/small@main").resolved())
    assert kind.train([TEXTS]).get_vocab_size() == 300
    for name, told in (
        ("hf:makers/none", "the hub has no makers/none that may be read without a login"),
        ("hf:makers/old", r"hf:makers/old has no tokenizer\.json"),
        ("hf:a/b/c", "does not name a tokenizer on the hub; write hf:owner/name"),
    ):
        with pytest.raises(CorpusError, match=told):
            named(name)


def test_it_needs_a_file_and_takes_no_other_option(file: Path) -> None:
    with pytest.raises(CorpusError, match="needs the option 'file'"):
        kind_of(TokenizerSpec(kind="imported", vocab_size=300))
    with pytest.raises(CorpusError, match="unknown option 'lower' of the tokenizer imported"):
        kind_of(imported(file, lower="yes"))
    with pytest.raises(CorpusError, match=r"unknown option 'lower' .* expected one of none"):
        kind_of(TokenizerSpec(vocab_size=300, options={"lower": True}))
