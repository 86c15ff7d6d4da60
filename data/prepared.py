"""A prepared corpus: packed tokens in memory-mapped files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from data.manifest import TOKENIZER_FILE, Manifest
from data.splits import SplitName
from data.tokenizers.base import kind_of

_LONG_DOCUMENT = 1 << 18
"""Bytes: as much as an evaluation scores by default."""

TokenArray: TypeAlias = NDArray[np.uint16] | NDArray[np.uint32]


def tokens_file(split: SplitName) -> str:
    return f"{split}.tokens.npy"


def offsets_file(split: SplitName) -> str:
    return f"{split}.offsets.npy"


def bytes_file(split: SplitName) -> str:
    return f"{split}.bytes.npy"


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedSplit:
    """The documents of a split, back to back, each preceded by end-of-text.

    They are shuffled in an order that depends on the corpus alone: a prefix is a fair sample, and
    has the same documents under every tokenizer.
    """

    name: SplitName
    tokens: TokenArray
    """[tokens], uint16 or uint32, memory-mapped."""
    document_offsets: NDArray[np.int64]
    """[documents + 1], in tokens: document i, its end-of-text first, is
    tokens[document_offsets[i] : document_offsets[i + 1]]."""
    document_bytes: NDArray[np.int64]
    """[documents], UTF-8 bytes of the text."""


@dataclass(frozen=True, kw_only=True)
class PreparedCorpus:
    """A folder of packed tokens with its manifest."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> PreparedCorpus:
        """Opens a folder that `data.prepare` made.

        Raises DamagedCorpusError unless every file has the size in the manifest.
        """
        manifest = Manifest.read(folder)
        manifest.check_sizes(folder)
        return cls(folder=folder, manifest=manifest)

    @property
    def end_of_text(self) -> int:
        """The token before each document."""
        return self.manifest.end_of_text

    def bytes_per_token(self, split: SplitName) -> float:
        """Bytes of text over tokens of text, end-of-text not counted."""
        return self.manifest.splits[split].bytes_per_token

    @property
    def has_test(self) -> bool:
        """Whether there is a test split; train and dev are always there."""
        return "test" in self.manifest.splits

    def equal_splits(self) -> Iterator[str]:
        """A sentence for each two splits with the same documents in the same order."""
        files = self.manifest.files
        for one, other in combinations(self.manifest.splits, 2):
            if all(files[name(one)] == files[name(other)] for name in (tokens_file, bytes_file)):
                yield (
                    f"the splits {one!r} and {other!r} are the same text; give each its own, or a "
                    "single file, which is split for you"
                )

    def undivided_splits(self) -> Iterator[str]:
        """A sentence for dev if it is one long document, from which no sample can be taken."""
        dev = self.manifest.splits["dev"]
        if dev.documents == 1 and dev.text_bytes > _LONG_DOCUMENT and self.manifest.grouping:
            yield (
                f"dev is a single document of {dev.text_bytes / 1e6:,.1f} MB, which every "
                "evaluation scores in full; write #pieces behind the corpus to cut it"
            )

    def split(self, name: SplitName) -> PackedSplit:
        """The packed documents of a split."""
        return PackedSplit(
            name=name,
            tokens=np.load(self.folder / tokens_file(name), mmap_mode="r"),
            document_offsets=np.load(self.folder / offsets_file(name), mmap_mode="r"),
            document_bytes=np.load(self.folder / bytes_file(name), mmap_mode="r"),
        )

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that encoded the text."""
        return kind_of(self.manifest.tokenizer).load(self.folder / TOKENIZER_FILE)
