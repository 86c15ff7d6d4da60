"""Stretches of a split's text, in the order of a hash of their text: any prefix is a fair sample.

Documents differ in subject and length, so that a few whole ones are a poor sample of a split.
Stretches of about STRETCH_BYTES are cut in bytes, the same for every tokenizer. Their order depends
on the set of documents alone: on no path, no name, and not on the order of the documents.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

STRETCH_BYTES = 512
"""About the context of a small model. Measured in docs/measurements.md."""

_BEFORE_SPACE = re.compile(rb"\S(?=\s)")
"""White space is cut off from the text before it: byte-level tokenizers join it to what follows."""


def ends(text: mmap.mmap | bytes, start: int, end: int, length: int = STRETCH_BYTES) -> list[int]:
    """Where the stretches of text[start:end] end: valid UTF-8, not empty, about equally long.

    A document shorter than 1.5 stretches stays whole. A cut is moved by up to a quarter of a
    stretch in front of white space, and where there is none, to a boundary of a character.
    """
    size = end - start
    number = max(1, round(size / length))
    cuts = [_cut(text, start + size * i // number, length // 4) for i in range(1, number)]
    return [*cuts, end]


def _cut(text: mmap.mmap | bytes, at: int, slack: int) -> int:
    window = text[at - slack : at + 1]
    found = [match.end() for match in _BEFORE_SPACE.finditer(window)]
    if found:
        return at - slack + found[-1]
    while text[at] & 0xC0 == 0x80:  # inside a character
        at -= 1
    return at


def hash_order(texts: Iterator[bytes]) -> NDArray[np.int64]:
    """[texts]: which text comes first, second … by a hash of its content.

    Equal texts get different places, counted by their occurrence, so that one text that occurs a
    thousand times does not fill a sample.
    """
    digests = np.array([_hash(text) for text in texts], dtype=np.uint64)
    by_digest = np.argsort(digests, kind="stable")
    in_order = digests[by_digest]
    repeated = np.flatnonzero(in_order[1:] == in_order[:-1]) + 1
    keys, occurrence, last = digests.copy(), 0, -1
    for place in repeated.tolist():
        occurrence = occurrence + 1 if place == last + 1 else 1
        last = place
        keys[by_digest[place]] = _hash(b"%d %d" % (in_order[place], occurrence))
    return np.argsort(keys, kind="stable")


def _hash(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8, person=b"stretch").digest(), "big")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The stretches of a sample: the first in the order of their hash."""

    stretches: int
    text_bytes: int
    reason: str
    """What was chosen and why, for people."""


def choose(stretch_bytes: NDArray[np.int64], max_bytes: int) -> Choice:
    """The sample that fits into `max_bytes`; at least one stretch, whatever its length.

    stretch_bytes: [stretches], in the order of their hash.

    Raises ValueError if max_bytes is less than 1.
    """
    if max_bytes < 1:
        raise ValueError(f"max_bytes is {max_bytes}; it must be at least 1")
    sums = np.cumsum(stretch_bytes)
    number = max(1, int(np.searchsorted(sums, max_bytes, side="right")))
    taken, whole = int(sums[number - 1]), int(sums[-1])
    stretches = f"{number:,} stretch{'' if number == 1 else 'es'} of text"
    if number == len(sums):
        reason = f"all {taken:,} bytes of dev, in {stretches}"
    else:
        reason = f"{stretches} from all of dev, {taken:,} of {whole:,} bytes, chosen by a hash"
    return Choice(stretches=number, text_bytes=taken, reason=reason)
