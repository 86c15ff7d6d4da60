"""A corpus of several: one text and one tokenizer for all, each part a domain of its own.

`mix:stdlib + reviews.jsonl:review`. How much of each is trained on is not the corpus' business: see
data.mixture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePath

from data.sources.base import Document, Source

MIX_PREFIX = "mix:"
BETWEEN = " + "

_NOT_IN_A_LABEL = re.compile(r"[^\w.-]+")


def mixed_name(corpora: Sequence[str]) -> str:
    """The name of the corpus that consists of these."""
    return MIX_PREFIX + BETWEEN.join(corpora)


def corpora_in(corpus: str) -> tuple[str, ...]:
    """The names of the corpora in a mixed one; a plain one is its own only part."""
    if not corpus.startswith(MIX_PREFIX):
        return (corpus,)
    # A + without spaces around it belongs to a name.
    parts = corpus.removeprefix(MIX_PREFIX).split(BETWEEN)
    return tuple(part.strip() for part in parts)


def domain_labels(corpus: str) -> tuple[str, ...]:
    """A short name for each part of a mixed corpus, all different: `stdlib`, `reviews`."""
    labels: list[str] = []
    for name in corpora_in(corpus):
        label = base = _label(name)
        number = 1
        while label in labels:
            number += 1
            label = f"{base}-{number}"
        labels.append(label)
    return tuple(labels)


def _label(name: str) -> str:
    """The name of a file or folder without its ending; of a set on the hub, without its owner."""
    if name.startswith("hf:"):
        name = name.removeprefix("hf:").partition(":")[0].rpartition("/")[2]
    else:
        name = PurePath(name).name
        name = re.sub(r"\.(txt|jsonl|parquet)([:#].*)?$", "", name)
    return _NOT_IN_A_LABEL.sub("_", name).strip("_") or "corpus"


@dataclass(frozen=True, kw_only=True)
class MixedCorpus:
    """Several corpora as one. Each is split into train, dev and test by its own rule."""

    name: str
    parts: tuple[Source, ...]

    @property
    def splitting(self) -> str:
        return "; ".join(f"{part.name}: {part.splitting}" for part in self.parts)

    @property
    def divisible(self) -> bool:
        return False

    @property
    def grouping(self) -> str:
        return "; ".join(f"{part.name}: {part.grouping}" for part in self.parts if part.grouping)

    def content_hash(self) -> str:
        digest = sha256(b"mixed\n")
        for part in self.parts:
            digest.update(f"{part.content_hash()}\n".encode())
        return digest.hexdigest()

    def documents(self) -> Iterator[Document]:
        for part in self.parts:
            yield from part.documents()
