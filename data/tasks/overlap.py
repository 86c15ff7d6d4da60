"""Overlap with the training text: which examples have n words in a row in common with it.

Words are letters and digits, in lower case, so that spacing and punctuation hide nothing. A text of
an example with at least n words overlaps if any n of them in a row are in a training document. An
example without such a text overlaps if all its texts are, each whole, in training documents; texts
of fewer words than a minimum are too common to tell and never overlap.

The training text is streamed once; memory grows with the examples alone. Words and runs of words
are compared by 64-bit hashes, and every hit again word by word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that no word of a run loses its weight."""


@dataclass(frozen=True, kw_only=True)
class OverlapRule:
    """Which overlaps count. Raises ValueError for impossible numbers."""

    words: int = 13
    """In a row, as in Brown et al., 2020 (arXiv:2005.14165, appendix C)."""
    shortest: int = 8
    """A text of fewer words than this never overlaps; one of fewer than `words` only whole."""

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.words:
            raise ValueError(
                f"the shortest text has {self.shortest} words and a run {self.words}; it must be "
                "1 ≤ shortest ≤ words"
            )

    @property
    def sentence(self) -> str:
        """The rule for people."""
        return (
            f"{self.words} words in a row that are in a training document; a shorter text whole, "
            f"from {self.shortest} words on"
        )


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """An example that overlaps with the training text."""

    example: int
    """Its place."""
    words: str
    """The run of words that was found."""


_Runs: TypeAlias = Mapping[int, list[tuple[int, int, int]]]
"""Runs of words of one length that are looked for: hash → (example, text, place in the text)."""


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def overlaps(
    examples: Sequence[Sequence[str]], training: Iterable[str], rule: OverlapRule
) -> list[Overlap]:
    """The examples that overlap with training documents, in their order.

    Args:
        examples: the texts of each.
        training: the documents.
        rule: which overlaps count.
    """
    hashes = _WordHashes()
    texts = [[words_of(text) for text in example] for example in examples]
    wanted = _wanted(texts, rule, hashes)
    known = {length: np.array(sorted(runs), dtype=np.uint64) for length, runs in wanted.items()}
    found: dict[tuple[int, int], str] = {}
    for document in training:
        words = words_of(document)
        hashed = hashes.of(words)
        for length, runs in wanted.items():
            here = _run_hashes(hashed, length)
            for start in _places_of(here, known[length]).tolist():
                run = words[start : start + length]
                for example, text, place in runs[int(here[start])]:
                    if (example, text) not in found and (
                        texts[example][text][place : place + length] == run
                    ):
                        found[example, text] = " ".join(run)
    return _judged(texts, found, rule)


def _wanted(
    texts: Sequence[Sequence[Sequence[str]]], rule: OverlapRule, hashes: _WordHashes
) -> Mapping[int, _Runs]:
    """The runs to look for, by their length."""
    wanted: dict[int, dict[int, list[tuple[int, int, int]]]] = {}
    for example, parts in enumerate(texts):
        for text, words in enumerate(parts):
            length = min(len(words), rule.words)
            if length < rule.shortest:
                continue
            runs = _run_hashes(hashes.of(words), length).tolist()
            for place, run in enumerate(runs):
                places = wanted.setdefault(length, {}).setdefault(run, [])
                places.append((example, text, place))
    return wanted


def _judged(
    texts: Sequence[Sequence[Sequence[str]]],
    found: Mapping[tuple[int, int], str],
    rule: OverlapRule,
) -> list[Overlap]:
    judged = []
    for example, parts in enumerate(texts):
        long = [text for text, words in enumerate(parts) if len(words) >= rule.words]
        hits = [found[example, text] for text in range(len(parts)) if (example, text) in found]
        long_hits = [found[example, text] for text in long if (example, text) in found]
        if long_hits:
            judged.append(Overlap(example=example, words=long_hits[0]))
        elif not long and hits and len(hits) == len(parts):
            judged.append(Overlap(example=example, words="; ".join(hits)))
    return judged


def _places_of(here: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where a hash is one of the known, which are sorted: far faster than sorting both."""
    nearest = np.searchsorted(known, here)
    nearest[nearest == len(known)] = 0
    return np.flatnonzero(known[nearest] == here)


class _WordHashes:
    """64-bit hashes of words, each computed once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, words: Sequence[str]) -> NDArray[np.uint64]:
        known = self._known
        for word in words:
            if word not in known:
                digest = blake2b(word.encode(), digest_size=8).digest()
                known[word] = int.from_bytes(digest, "big")
        return np.array([known[word] for word in words], dtype=np.uint64)


def _run_hashes(hashed: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """Hashes of all runs of so many words: a polynomial modulo 2⁶⁴."""
    number = max(0, len(hashed) - length + 1)
    total = np.zeros(number, dtype=np.uint64)
    for place in range(length):
        total = total * _FACTOR + hashed[place : place + number]
    return total
