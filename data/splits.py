"""The three splits of a corpus, and the hashes that decide a document's split and position.

They are pure functions of the text (or the path), so that they agree on every machine and for every
tokenizer.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal, TypeAlias, get_args

SplitName: TypeAlias = Literal["train", "dev", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

NEEDED_SPLITS: tuple[SplitName, ...] = ("train", "dev")
"""Without a test split a corpus can be trained and ranked on, and its leader not checked."""

SPLIT_ALIASES: dict[str, SplitName] = {
    "train": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
"""Names that files and published datasets give to the splits."""

HASHED_AS: dict[SplitName, str] = {"train": "train", "dev": "valid", "test": "test"}
"""A split's name in the hash of a corpus: dev was once called valid, and the rename must not change
hashes that journals keep."""

DEV_SHARE = 0.05
TEST_SHARE = 0.05


def _uniform(identity: bytes) -> float:
    """A number in [0, 1), a hash of `identity`."""
    return int.from_bytes(blake2b(identity, digest_size=8).digest(), "big") / 2**64


def split_by_hash(identity: bytes) -> SplitName:
    """90 % train, 5 % dev, 5 % test. Equal texts share a split, so none leaks into another."""
    position = _uniform(identity)
    if position < DEV_SHARE:
        return "dev"
    if position < DEV_SHARE + TEST_SHARE:
        return "test"
    return "train"


def held_out_by_hash(identity: bytes) -> SplitName:
    """Halves one published held-out split into dev and test."""
    return "dev" if _uniform(identity) < 0.5 else "test"


def shuffle_key(index: int, text: bytes) -> int:
    """A document's position in its split: documents are sorted by this 64-bit number.

    The index separates equal texts, which would otherwise become neighbours.
    """
    digest = blake2b(text, digest_size=8, salt=index.to_bytes(8, "big"))
    return int.from_bytes(digest.digest(), "big")
