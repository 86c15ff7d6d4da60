"""SuperBPE: its second stage against a slow reference, exact on any text, the same everywhere."""

from __future__ import annotations

import json
import random
import sysconfig
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from data.errors import CorpusError
from data.prepare import prepare
from data.tokenizers import superbpe
from data.tokenizers.base import kind_of
from data.tokenizers.spec import TokenizerSpec
from data.tokenizers.superwords import BOUNDARY, superword_merges, words_in
from tests.data.tokenizers.processes import printed

CLAUSES = ("of the", "at the end", "run, run", "in 1999", "won't", "it is", "a b a b a", "été\tici")
GLUE = (" ", " ", ", ", ". ", "\n", "\n\n    ", "  ")


def text_of(number: int, clauses: int = 30) -> str:
    chosen = random.Random(number)
    return "".join(chosen.choice(CLAUSES) + chosen.choice(GLUE) for _ in range(clauses))


TEXTS = [text_of(number) for number in range(20)]


def superbpe_of(size: int, **options: object) -> TokenizerSpec:
    return TokenizerSpec(kind="superbpe", vocab_size=size, options=options)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return kind_of(superbpe_of(320, transition=0.9)).train([TEXTS])


def slow_merges(
    tokens: Sequence[int], spellings: Sequence[str], wanted: int, max_words: int
) -> tuple[list[tuple[int, int]], list[int]]:
    """Counts all pairs again before each merge. Returns the pairs and the merged text."""
    text, known, merges = list(tokens), list(spellings), []
    while len(merges) < wanted:
        counts: Counter[tuple[int, int]] = Counter()
        place = 0
        last = None
        for place in range(len(text) - 1):
            pair = (text[place], text[place + 1])
            if last == (pair, place - 1) and pair[0] == pair[1]:
                last = None
                continue
            last = (pair, place)
            spelled = "".join(known[one] for one in pair if one != BOUNDARY)
            if BOUNDARY not in pair and spelled not in known and words_in(spelled) <= max_words:
                counts[pair] += 1
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        merged: list[int] = []
        for token in text:
            if merged and (merged[-1], token) == best:
                merged[-1] = len(known)
            else:
                merged.append(token)
        text = merged
        known.append(known[best[0]] + known[best[1]])
        merges.append(best)
    return merges, text


@given(
    tokens=st.lists(st.sampled_from([BOUNDARY, 0, 0, 1, 1, 2, 3]), max_size=60),
    max_words=st.integers(1, 3),
)
@example(tokens=[0, 0, 0, 0, 0, BOUNDARY, 1, 0, 0, 0, 1, 0, 0], max_words=3)
def test_the_second_stage_merges_what_a_slow_count_does(tokens: list[int], max_words: int) -> None:
    spellings = ["a", "Ġ", "ab", "b"]
    found = superword_merges(np.array(tokens, dtype=np.int32), spellings, 9, max_words=max_words)
    assert found == slow_merges(tokens, spellings, 9, max_words)[0]


def test_the_finished_tokenizer_makes_the_tokens_that_were_counted(tokenizer: Tokenizer) -> None:
    first = superbpe.trained([TEXTS], 288)
    spellings = superbpe._spellings(first)
    tokens = superbpe._encoded(superbpe._with_merges(first, []), [TEXTS])
    merges, merged = slow_merges(tokens.tolist(), spellings, 32, 4)
    saved = json.loads(tokenizer.to_str())["model"]["merges"]
    names = superbpe._spellings(tokenizer)
    assert saved[-32:] == [[names[left], names[right]] for left, right in merges]
    ids = [token for text in TEXTS for token in tokenizer.encode(text).ids]
    assert ids == [token for token in merged if token != BOUNDARY]


def test_it_makes_superwords_within_their_bounds(tokenizer: Tokenizer) -> None:
    names = superbpe._spellings(tokenizer)
    first = superbpe._spellings(kind_of(TokenizerSpec(vocab_size=288)).train([TEXTS]))
    assert names[:288] == first, "the first stage is byte-level BPE"
    decoded = [tokenizer.decode([token]) for token in range(288, 320)]
    superwords = [text for text in decoded if len(text.split()) > 1]
    assert " of the" in superwords
    assert max(len(text.split()) for text in superwords) <= 4
    assert not any("\n" in text.lstrip() or text.strip(" ").isdecimal() for text in superwords)
    twos = kind_of(superbpe_of(320, max_words=2)).train([TEXTS])
    assert max(len(twos.decode([token]).split()) for token in range(320)) == 2


def test_it_needs_fewer_tokens_than_bpe_of_its_size() -> None:
    library = Path(sysconfig.get_path("stdlib"))
    text, unseen = ((library / name).read_text("utf-8") for name in ("turtle.py", "argparse.py"))
    specs = [superbpe_of(1_000), TokenizerSpec(vocab_size=1_000)]
    ours, bpe = (len(kind_of(spec).train([[text]]).encode(unseen).ids) for spec in specs)
    assert ours < 0.97 * bpe, (ours, bpe)


@given(text=st.text())
@example(text="  of the\t\r\n\n end \u00a0\u2028 of the ")
@example(text="<|endoftext|>\x00e\u0301\U0001f600 1999²³ 12.5\n")
@example(text="\ufeffשלום \u202eعربي\u202c \u200f\r\n a\u0308\u0323\r \u2028")
def test_text_comes_back_exactly(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert 0 not in ids


@given(
    words=st.lists(st.sampled_from(["of the", "é", "7", ".", " ", "\n", "\t", "\u00a0", "\r\n"])),
    limit=st.integers(1, 9),
)
def test_pieces_encode_as_the_whole(tokenizer: Tokenizer, words: list[str], limit: int) -> None:
    encoded = "".join(words).encode()
    cutting = superbpe.SuperBpe.cutting
    found = [piece.decode() for piece in cutting.pieces(encoded, 0, len(encoded), limit)]
    ids = [token for piece in found for token in tokenizer.encode(piece).ids]
    assert ids == tokenizer.encode("".join(words)).ids


def test_words_are_what_white_space_separates() -> None:
    (spelled, _), *_ = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        "ng of\tthe\r\nend\v.\f"
    )
    assert words_in(spelled) == 5


SCRIPT = """
import hashlib, json, sys
from data.tokenizers.base import kind_of
from data.tokenizers.spec import TokenizerSpec
texts = json.load(open(sys.argv[1]))
kind = kind_of(TokenizerSpec(kind="superbpe", vocab_size=320, options={"transition": 288}))
saved = kind.train([texts[: int(sys.argv[2])], texts[int(sys.argv[2]) :]]).to_str(pretty=True)
print(hashlib.sha256(saved.encode()).hexdigest())
"""


def test_the_same_text_gives_the_same_tokenizer_in_every_process(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    path = tmp_path / "texts"

    def hash_of_tokenizer(texts: list[str], batch: str, threads: str, seed: str) -> str:
        path.write_text(json.dumps(texts))
        return printed(SCRIPT, str(path), batch, threads=threads, hash_seed=seed)

    found = {
        hash_of_tokenizer(TEXTS, "7", "1", "0"),
        hash_of_tokenizer(TEXTS[::-1], "30", "3", "1"),
    }
    # The constant is what holds across machines; a new release of `tokenizers` may change it.
    assert found == {"c1b26dee6856bb9d126aa9e61386ced7006dbd8711ae6d88220d035fbd1986f6"}


def test_a_vocabulary_beyond_the_text_names_the_largest() -> None:
    spec = superbpe_of(2_000)
    with pytest.raises(CorpusError, match="does not support a vocabulary of 2,000 with a ") as told:
        kind_of(spec).train([TEXTS])
    largest = int(str(told.value).split("ask for ")[1].split()[0].replace(",", ""))
    assert kind_of(superbpe_of(largest)).train([TEXTS]).get_vocab_size() == largest
    with pytest.raises(CorpusError):
        kind_of(superbpe_of(largest + 1)).train([TEXTS])


def test_a_second_stage_without_pairs_is_refused_with_a_remedy() -> None:
    for transition in (0.87, 262):
        kind = kind_of(superbpe_of(300, transition=transition, max_words=1))
        with pytest.raises(CorpusError, match=r"second stage ends at .*; (ask for|set the) "):
            kind.train([["ab ab cd cd ef ef gh gh " * 3, *"0123456789"]])


@pytest.mark.parametrize(
    ("size", "options", "told"),
    [
        (1_000, {"transition": 0}, "'transition' is 0; it must be a share"),
        (1_000, {"transition": "half"}, "'transition' is 'half'"),
        (1_000, {"transition": True}, "'transition' is True"),
        (1_000, {"transition": 1_000}, "vocabulary of 1,000 with a transition at 1,000 is out"),
        (1_000, {"transition": 0.2}, "transition at 200 is out of range; .* at least 257"),
        (257, {}, "transition at 231 is out of range"),
        (1 << 25, {}, "at most 16,777,216"),
        (1_000, {"max_words": 0}, "'max_words' is 0; it must be a whole number of at least 1"),
        (1_000, {"max_words": 2.5}, "'max_words' is 2.5"),
        (
            1_000,
            {"words": 2},
            "unknown option 'words' of the tokenizer superbpe; did you mean max_words",
        ),
    ],
)
def test_impossible_options(size: int, options: dict[str, object], told: str) -> None:
    with pytest.raises(CorpusError, match=told):
        kind_of(superbpe_of(size, **options))


def test_a_corpus_is_prepared_with_it_and_says_how_far_it_is(stories: Path, tmp_path: Path) -> None:
    reports: dict[str, tuple[int, int, str]] = {}

    def report(stage: str, done: int, total: int, unit: str = "bytes") -> None:
        reports[stage] = (done, total, unit)

    corpus = prepare(str(stories), superbpe_of(300), cache=tmp_path / "cache", report=report)
    assert reports["join words into superwords"] == (30, 30, "tokens")
    assert [one for one in reports if one.startswith("train")] == [
        "train the tokenizer",
        "train the tokenizer, pass 2",
    ]
    assert corpus.manifest.tokenizer.key.startswith("superbpe-300")
    split = corpus.split("dev")
    alone = Tokenizer.from_file(str(corpus.folder / "tokenizer.json"))
    text = alone.decode(split.tokens[1 : split.document_offsets[1]].tolist())
    assert text in {json.loads(line)["text"] for line in stories.read_text().splitlines()}


def test_the_second_stage_reads_a_bounded_part_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superbpe, "SAMPLE_BYTES", 1)
    read: list[str] = []

    def batches() -> list[list[str]]:
        return [[text] for text in TEXTS]

    for batch in superbpe._sample(batches()):
        read += batch
    assert read == TEXTS[:1]
