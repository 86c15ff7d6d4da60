"""Several corpora in one: one tokenizer, and each part's text in one place."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import numpy as np
import pytest

from data.corpus import find_corpus
from data.errors import CorpusError
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.sources.mixed import corpora_in, domain_labels, mixed_name
from data.tokenizers.spec import TokenizerSpec


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single file, which is split by bytes."""
    path = tmp_path_factory.mktemp("other") / "module texts.txt"
    path.write_text((Path(sysconfig.get_path("stdlib")) / "turtle.py").read_text("utf-8"))
    return path


@pytest.fixture(scope="module")
def mixed(small_corpus: Path, other: Path, cache: Path) -> PreparedCorpus:
    name = mixed_name([str(small_corpus), f"{other}#lines"])
    return prepare(name, TokenizerSpec(vocab_size=512), cache=cache)


def texts(corpus: PreparedCorpus, number: int, name: str) -> list[str]:
    split = corpus.domain(number, name)  # type: ignore[arg-type]
    tokenizer = corpus.tokenizer()
    return [
        tokenizer.decode(split.tokens[start + 1 : end].tolist())
        for start, end in zip(split.document_offsets, split.document_offsets[1:], strict=False)
    ]


def test_each_part_keeps_its_own_text_and_splits(
    mixed: PreparedCorpus, small_corpus: Path, other: Path
) -> None:
    assert mixed.domains == 2
    for number, name in enumerate((str(small_corpus), f"{other}#lines")):
        wanted: dict[str, list[str]] = {}
        for document in find_corpus(name).documents():
            if (document.text or b"").strip():
                wanted.setdefault(document.split, []).append((document.text or b"").decode())
        for split, documents in wanted.items():
            assert sorted(texts(mixed, number, split)) == sorted(documents)
            sizes = mixed.domain(number, split).document_bytes  # type: ignore[arg-type]
            assert sizes.sum() == sum(len(text.encode()) for text in documents)


def test_the_parts_together_are_the_whole(mixed: PreparedCorpus) -> None:
    for name in ("train", "dev", "test"):
        parts = [mixed.domain(number, name).tokens for number in range(2)]
        np.testing.assert_array_equal(np.concatenate(parts), mixed.split(name).tokens)
    sizes = [mixed.domain_stretches(number).document_bytes.sum() for number in range(2)]
    assert sum(sizes) == mixed.stretches().document_bytes.sum()


def test_a_plain_corpus_is_its_own_only_part(small_corpus: Path, cache: Path) -> None:
    plain = prepare(str(small_corpus), TokenizerSpec(vocab_size=512), cache=cache)
    assert plain.domains == 1
    np.testing.assert_array_equal(plain.domain(0, "dev").tokens, plain.split("dev").tokens)
    assert plain.manifest.domains == ()


def test_parts_have_short_names_of_their_own() -> None:
    name = "mix:stdlib + /a b/reviews.jsonl:review + ~/other/reviews.jsonl + hf:owner/set:en:text"
    assert domain_labels(name) == ("stdlib", "reviews", "reviews-2", "set")
    assert domain_labels("mix:./n+m/ + c++.txt#lines") == ("n_m", "c")
    assert corpora_in("mix:a+b.txt + c") == ("a+b.txt", "c")
    assert corpora_in("a + b.txt") == ("a + b.txt",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mix:stdlib", "does not name several corpora; write mix:ONE [+] OTHER"),
        ("mix:", "does not name several corpora"),
        ("mix:stdlib + ", "does not name several corpora"),
        ("mix:stdlib + stdlib", "the corpus 'stdlib' is twice in"),
        ("mix:stdlib + stdlub", "no corpus is called 'stdlub'; did you mean"),
    ],
)
def test_what_names_no_mix_is_refused(name: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        find_corpus(name)
