"""Text comes in whole characters, and together it is the decoded text."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from tests.tune_app.untrained import small_tokenizer
from tune_app.portable.streaming import texts_of


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


def test_characters_of_several_tokens_come_whole(tokenizer: Tokenizer) -> None:
    text = "naïve 東京 the 🎬🎞 film\n"
    tokens = tokenizer.encode(text).ids
    pieces = list(texts_of(tokens, tokenizer))
    assert "".join(pieces) == text
    assert len(tokens) > len(pieces) > 8
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_bytes_that_are_no_character_are_replaced_and_nothing_is_lost(
    tokenizer: Tokenizer,
) -> None:
    film, (first, *_) = tokenizer.encode("film").ids, tokenizer.encode("東").ids
    for tokens in ([first], [first, *film], [*film, first, first], []):
        pieces = list(texts_of(tokens, tokenizer))
        assert "".join(pieces) == tokenizer.decode(tokens)
