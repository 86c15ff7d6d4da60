"""Byte-level BPE: trained on a corpus, the same on every machine, and exact on any text.

Method: byte pair encoding (Sennrich et al., 2016, arXiv:1508.07909) over bytes with the
pre-tokenisation of GPT-2 (Radford et al., 2019), as the library `tokenizers` implements both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from mmap import mmap
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from data.documents import END_OF_TEXT
from data.errors import CorpusError

END_OF_TEXT_ID = 0
SMALLEST_VOCABULARY = 256 + 1
"""Every byte, and end-of-text."""
LARGEST_VOCABULARY = 1 << 24
"""Beyond any corpus; a limit so that a slip of the keyboard is told at once."""

PIECE_BYTES = 1 << 20

# GPT-2's pre-tokenisation never joins white space to text before it, so cutting in front of a
# line break that follows a printable character changes no token.
_SAFE_CUT = re.compile(rb"[!-~](?=\n)")


def check_vocabulary(vocab_size: int) -> None:
    """Raises CorpusError for a size that no byte-level tokenizer can have."""
    if not SMALLEST_VOCABULARY <= vocab_size <= LARGEST_VOCABULARY:
        raise CorpusError(
            f"a vocabulary of {vocab_size:,} is out of range; byte-level BPE needs at least "
            f"{SMALLEST_VOCABULARY} (256 bytes and end-of-text) and at most {LARGEST_VOCABULARY:,}"
        )


def train_tokenizer(texts: Iterable[list[str]], vocab_size: int) -> Tokenizer:
    """A tokenizer of exactly `vocab_size` tokens, trained on batches of text.

    The order of the texts does not matter. A pair of tokens is merged only if it occurs twice.
    Raises CorpusError where the texts do not support that many tokens.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    supported = tokenizer.get_vocab_size()
    if supported < vocab_size:
        raise CorpusError(
            f"the train split supports a vocabulary of {supported:,} at most, not "
            f"{vocab_size:,}; ask for {supported:,} or fewer, or use a larger corpus"
        )
    assert tokenizer.token_to_id(END_OF_TEXT) == END_OF_TEXT_ID
    return _with_plain_special_tokens(tokenizer)


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a prepared corpus."""
    return _with_plain_special_tokens(Tokenizer.from_file(str(path)))


def _with_plain_special_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Text that spells out `<|endoftext|>` must stay text; the file does not keep this setting."""
    tokenizer.encode_special_tokens = True
    return tokenizer


def pieces(text: mmap | bytes, start: int, end: int, limit: int = PIECE_BYTES) -> Iterator[bytes]:
    """Cuts text[start:end] into pieces of about `limit` bytes that encode as the whole would.

    A piece may be longer where the text has no line break to cut at.
    """
    while end - start > limit:
        cut = _SAFE_CUT.search(text, start + limit - 1, end)
        if cut is None:
            break
        yield text[start : cut.end()]
        start = cut.end()
    yield text[start:end]
