"""Byte-level BPE: trained on a corpus, the same on every machine, and exact on any text.

Method: byte pair encoding (Sennrich et al., 2016, arXiv:1508.07909) over bytes with the
pre-tokenisation of GPT-2 (Radford et al., 2019), as the library `tokenizers` implements both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from data.documents import END_OF_TEXT
from data.errors import CorpusError
from data.progress import Report, silent
from data.tokenizers.base import TokenizerKind, with_plain_special_tokens
from data.tokenizers.cutting import Cutting

SMALLEST_VOCABULARY = 256 + 1
"""Every byte, and end-of-text."""
LARGEST_VOCABULARY = 1 << 24
"""More than any corpus supports; catches a typo before training starts."""


class ByteLevelBpe(TokenizerKind):
    """Byte-level BPE with GPT-2's pre-tokenisation. End-of-text is token 0."""

    # GPT-2's pre-tokenisation never joins white space to text before it, so cutting in front of a
    # line break that follows a printable character changes no token.
    cutting = Cutting(behind=re.compile(rb"[!-~](?=\n)"), runs=True)

    def check(self) -> None:
        size = self.spec.vocab_size
        if not SMALLEST_VOCABULARY <= size <= LARGEST_VOCABULARY:
            raise CorpusError(
                f"a vocabulary of {size:,} is out of range; byte-level BPE needs at least "
                f"{SMALLEST_VOCABULARY} (256 bytes and end-of-text) and at most "
                f"{LARGEST_VOCABULARY:,}"
            )

    def train(self, texts: Iterable[list[str]], report: Report = silent) -> Tokenizer:
        """The order of the texts does not matter. A pair of tokens is merged only if it occurs
        twice. Raises CorpusError if the texts do not support that many tokens."""
        size = self.spec.vocab_size
        tokenizer = trained(texts, size)
        supported = tokenizer.get_vocab_size()
        if supported < size:
            raise CorpusError(
                f"the train split supports a vocabulary of {supported:,} at most, not "
                f"{size:,}; ask for {supported:,} or fewer, or use a larger corpus"
            )
        return tokenizer


def trained(texts: Iterable[list[str]], size: int) -> Tokenizer:
    """A tokenizer of `size` tokens, or of as many as the texts support."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return with_plain_special_tokens(tokenizer)
