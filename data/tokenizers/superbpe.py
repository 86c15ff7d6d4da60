"""SuperBPE: byte-level BPE up to a transition size, then merges across white space.

Method: Liu et al., 2025, arXiv:2503.13423. The first stage is `byte_level_bpe`. In the second one
white space is no boundary any more, so that frequent phrases become tokens, superwords: ` of the`.
Numbers stay apart from words, and a superword has at most four words, as in the paper. It stays
within a line, since the authors' trainer reads its text line by line.

The result is a plain BPE of the library `tokenizers`, which needs nothing of this code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Sequence, Split

from data.errors import CorpusError
from data.progress import Report, silent
from data.tokenizers.base import TokenizerKind, with_plain_special_tokens
from data.tokenizers.byte_level_bpe import (
    LARGEST_VOCABULARY,
    SMALLEST_VOCABULARY,
    ByteLevelBpe,
    trained,
)
from data.tokenizers.spec import DEFAULT_OPTIONS
from data.tokenizers.superwords import BOUNDARY, Ints, Pair, superword_merges

TRANSITION, MAX_WORDS = "transition", "max_words"

DEFAULT_TRANSITION: float = DEFAULT_OPTIONS["superbpe"][TRANSITION]
"""180k of 200k tokens: of the paper's transition sizes (80k, 160k, 180k) the one whose model did
best on downstream tasks. 80k gave the fewest tokens."""
DEFAULT_MAX_WORDS: int = DEFAULT_OPTIONS["superbpe"][MAX_WORDS]

SAMPLE_BYTES = 64 << 20
"""The second stage reads this much text, in the order in which it comes: about 20 million tokens,
which bounds its memory (docs/tokenizers.md)."""

STAGE = "join words into superwords"

_NUMBERS = r" ?\p{N}+"
_IN_FRONT_OF_LINES = r"(?<=\S)(?=\s*\n)"
"""White space with a line break in it belongs to the line behind it: it is its indentation."""


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """What training for some size came to."""

    tokenizer: Tokenizer
    first: int
    """Tokens after the first stage."""
    size: int
    """Tokens after both."""


class SuperBpe(TokenizerKind):
    """SuperBPE. End-of-text is token 0; the first tokens are those of `byte_level_bpe`.

    Options: `transition`, the size at which the second stage begins, as a share of the vocabulary
    (below 1) or in tokens; `max_words`, the most words of a superword.
    """

    options = (TRANSITION, MAX_WORDS)
    # Both stages have a boundary in front of a line break that follows a printable character.
    cutting = ByteLevelBpe.cutting

    def check(self) -> None:
        size, transition, words = self.spec.vocab_size, self._transition, self._max_words
        if not _is_number(transition) or not 0 < transition < math.inf:
            raise CorpusError(
                f"the tokenizer option {TRANSITION!r} is {transition!r}; it must be a share of the "
                "vocabulary between 0 and 1, as 0.9, or a number of tokens"
            )
        if isinstance(words, bool) or not isinstance(words, int) or words < 1:
            raise CorpusError(
                f"the tokenizer option {MAX_WORDS!r} is {words!r}; it must be a whole number of at "
                "least 1"
            )
        first = self._first_size(size)
        if size > LARGEST_VOCABULARY or not SMALLEST_VOCABULARY <= first < size:
            raise CorpusError(
                f"a vocabulary of {size:,} with a transition at {first:,} is out of range; the "
                f"first stage of SuperBPE needs at least {SMALLEST_VOCABULARY} tokens (256 bytes "
                "and end-of-text), the vocabulary more than that and at most "
                f"{LARGEST_VOCABULARY:,}"
            )

    def train(self, texts: Iterable[list[str]], report: Report = silent) -> Tokenizer:
        """The order of the texts does not matter unless there are more than SAMPLE_BYTES. A pair
        of tokens is merged only if it occurs twice. Raises CorpusError if the texts do not support
        that many tokens."""
        size = self.spec.vocab_size
        attempt = self._attempt(texts, size, report)
        if attempt.size == size:
            return with_plain_special_tokens(attempt.tokenizer)
        raise CorpusError(
            f"the train split does not support a vocabulary of {size:,} with a transition at "
            f"{self._first_size(size):,}: "
            + (
                f"the first stage ends at {attempt.first:,}"
                if attempt.first < self._first_size(size)
                else f"the second stage ends at {attempt.size:,}"
            )
            + f"; {self._remedy(attempt, texts, report)}, or use a larger corpus"
        )

    def _remedy(self, attempt: _Attempt, texts: Iterable[list[str]], report: Report) -> str:
        """What to ask for instead: the largest vocabulary that fills, to 1 %, found by trying.

        A smaller vocabulary has a smaller first stage, which leaves the second one more pairs.
        """
        refused = self.spec.vocab_size
        while True:
            if attempt.first < self._first_size(refused):
                refused = self._largest_with(attempt.first) + 1
                filled = refused - 1
            else:
                filled = attempt.size
            if not SMALLEST_VOCABULARY <= self._first_size(filled) < filled:
                return f"set the tokenizer option {TRANSITION!r} lower"
            attempt = self._attempt(texts, filled, report)
            if attempt.size == filled:
                break
            refused = filled
        while refused - filled > 1 + filled // 100:
            size = (filled + refused) // 2
            fills = self._attempt(texts, size, report).size == size
            filled, refused = (size, refused) if fills else (filled, size)
        return f"ask for {filled:,} or fewer"

    def _attempt(self, texts: Iterable[list[str]], size: int, report: Report) -> _Attempt:
        first = trained(texts, self._first_size(size))
        known = first.get_vocab_size()
        if known < self._first_size(size):
            return _Attempt(tokenizer=first, first=known, size=known)
        wanted = size - known
        across = _with_merges(first, [])
        merges = superword_merges(
            _encoded(across, texts),
            _spellings(first),
            wanted,
            max_words=self._max_words,
            progress=lambda done: report(STAGE, done, wanted, "tokens"),
        )
        report(STAGE, wanted, wanted, "tokens")
        tokenizer = _with_merges(first, merges)
        return _Attempt(tokenizer=tokenizer, first=known, size=known + len(merges))

    @property
    def _transition(self) -> float:
        return self.spec.options.get(TRANSITION, DEFAULT_TRANSITION)  # type: ignore[no-any-return]

    @property
    def _max_words(self) -> int:
        return self.spec.options.get(MAX_WORDS, DEFAULT_MAX_WORDS)  # type: ignore[no-any-return]

    def _first_size(self, size: int) -> int:
        """The tokens of the first stage for a vocabulary of `size`."""
        share = self._transition < 1
        return round(size * self._transition) if share else math.floor(self._transition)

    def _largest_with(self, first: int) -> int:
        """The largest vocabulary whose first stage has at most so many tokens."""
        if self._transition >= 1:
            return first
        size = math.floor(first / self._transition) + 1
        while self._first_size(size) > first:
            size -= 1
        return size


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _pre_tokenizer() -> PreTokenizer:
    """What no token reaches over in the second stage, and in the finished tokenizer."""
    split = Split(Regex(f"{_NUMBERS}|{_IN_FRONT_OF_LINES}"), "isolated")
    return Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])


def _spellings(tokenizer: Tokenizer) -> list[str]:
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _with_merges(first: Tokenizer, merges: Iterable[Pair]) -> Tokenizer:
    """The tokenizer of the first stage with the merges of the second one."""
    spellings = _spellings(first)
    saved = json.loads(first.to_str())
    model = saved["model"]
    for left, right in merges:
        model["merges"].append([spellings[left], spellings[right]])
        spellings.append(spellings[left] + spellings[right])
        model["vocab"][spellings[-1]] = len(spellings) - 1
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    return tokenizer


def _encoded(tokenizer: Tokenizer, texts: Iterable[list[str]]) -> Ints:
    """The tokens of the texts, with a BOUNDARY wherever no token may reach over."""
    with_plain_special_tokens(tokenizer)
    parts = [np.zeros(0, dtype=np.int32)]
    for batch in _sample(texts):
        for encoding in tokenizer.encode_batch(batch, add_special_tokens=False):
            ids = np.array(encoding.ids, dtype=np.int32)
            words = np.array(encoding.word_ids, dtype=np.int32)
            parts.append(np.insert(ids, np.flatnonzero(np.diff(words, prepend=-1)), BOUNDARY))
    return np.concatenate(parts)


def _sample(texts: Iterable[list[str]]) -> Iterator[list[str]]:
    left = SAMPLE_BYTES
    for batch in texts:
        yield batch
        left -= sum(len(text.encode()) for text in batch)
        if left <= 0:
            return
