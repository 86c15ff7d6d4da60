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

from data.chunks import ChunkedTokens, files_of_tokens, read_tokens
from data.manifest import TOKENIZER_FILE, Manifest
from data.splits import SplitName
from data.tokenizers.base import kind_of

TokenArray: TypeAlias = NDArray[np.uint16] | NDArray[np.uint32] | ChunkedTokens


def stretches_of(split: SplitName, domain: int | None = None) -> str:
    """The name of a split's stretches, or of one domain's, in the names of their files."""
    return f"{split}.stretches" if domain is None else f"{split}.domain{domain}.stretches"


def offsets_file(texts: str) -> str:
    return f"{texts}.offsets.npy"


def bytes_file(texts: str) -> str:
    return f"{texts}.bytes.npy"


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedSplit:
    """The documents of a split, back to back, each preceded by end-of-text.

    They are shuffled in an order that depends on the corpus alone, and is the same for every
    tokenizer.
    """

    name: SplitName
    tokens: TokenArray
    """[tokens], uint16 or uint32, memory-mapped from one file or several."""
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
            named = [
                [*files_of_tokens(name, list(files)), bytes_file(name)] for name in (one, other)
            ]
            if [files[name] for name in named[0]] == [files[name] for name in named[1]]:
                yield (
                    f"the splits {one!r} and {other!r} are the same text; give each its own, or a "
                    "single file, which is split for you"
                )

    def split(self, name: SplitName) -> PackedSplit:
        """The packed documents of a split."""
        return self._packed(name, name)

    def stretches(self) -> PackedSplit:
        """The text of dev again, cut into stretches, each packed like a document.

        They are in the order of a hash of their text: a prefix is a fair sample of dev, and has the
        same text under every tokenizer.
        """
        return self._packed("dev", stretches_of("dev"))

    @property
    def domains(self) -> int:
        """How many corpora are mixed in it; 1 for a plain one."""
        return len(self.manifest.domains) or 1

    def domain(self, number: int, name: SplitName) -> PackedSplit:
        """The packed documents of one domain of a split; all of a plain corpus'."""
        whole = self.split(name)
        if not self.manifest.domains:
            return whole
        first = sum(one.documents.get(name, 0) for one in self.manifest.domains[:number])
        last = first + self.manifest.domains[number].documents.get(name, 0)
        offsets = whole.document_offsets[first : last + 1]
        return PackedSplit(
            name=name,
            tokens=whole.tokens[offsets[0] : offsets[-1]],
            document_offsets=offsets - offsets[0],
            document_bytes=whole.document_bytes[first:last],
        )

    def domain_stretches(self, number: int) -> PackedSplit:
        """As `stretches`, of one domain's dev text."""
        if not self.manifest.domains:
            return self.stretches()
        return self._packed("dev", stretches_of("dev", number))

    def _packed(self, name: SplitName, texts: str) -> PackedSplit:
        return PackedSplit(
            name=name,
            tokens=read_tokens(self.folder, texts),
            document_offsets=np.load(self.folder / offsets_file(texts), mmap_mode="r"),
            document_bytes=np.load(self.folder / bytes_file(texts), mmap_mode="r"),
        )

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that encoded the text."""
        return kind_of(self.manifest.tokenizer).load(self.folder / TOKENIZER_FILE)
