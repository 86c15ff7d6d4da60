"""The text of a corpus, gathered by split on disk and read back in shuffled order.

It is streamed to one file per split and read through a memory map, so that a corpus larger than
memory can be shuffled. Only a few numbers per document stay in memory.
"""

from __future__ import annotations

import mmap
import shutil
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from data.division import RULE, SMALLEST_BYTES, split_by_bytes
from data.errors import CorpusError, reading_explained
from data.prepared import stretches_of
from data.progress import Report
from data.sources.base import Document, Source
from data.sources.mixed import MixedCorpus
from data.splits import NEEDED_SPLITS, SPLITS, SplitName, shuffle_key
from data.stretches import ends, hash_order
from data.tokenizers.cutting import PIECE_BYTES, Cutting


class GatheredSplit:
    """The text of one split on disk. Null and blank documents are left out and counted."""

    def __init__(self, name: SplitName, path: Path) -> None:
        self.name = name
        self.path = path
        self.null_documents = 0
        self.blank_documents = 0
        self.domain_documents: tuple[int, ...] = ()
        """Documents of each domain, one behind the other; empty unless several were joined."""
        self._sizes = array("q")
        self._keys = array("Q")

    @property
    def documents(self) -> int:
        return len(self._sizes)

    @property
    def document_bytes(self) -> NDArray[np.int64]:
        """[documents], in the order they were added."""
        return np.frombuffer(self._sizes, dtype=np.int64)

    @property
    def text_bytes(self) -> int:
        return int(self.document_bytes.sum())

    @property
    def _domains(self) -> NDArray[np.int64]:
        """[documents], the domain of each."""
        counts = np.array(self.domain_documents or (self.documents,), dtype=np.int64)
        return np.repeat(np.arange(len(counts)), counts)

    def texts(self) -> SplitTexts:
        """The documents in the shuffled order, which keeps those of a domain together."""
        order = np.lexsort((np.frombuffer(self._keys, dtype=np.uint64), self._domains))
        starts = np.cumsum(self.document_bytes) - self.document_bytes
        return SplitTexts(
            name=self.name,
            path=self.path,
            starts=starts[order],
            text_bytes=self.document_bytes[order],
        )

    def stretches(self, domain: int | None = None) -> SplitTexts:
        """Stretches of all documents, or of a domain's, in the order of their hash.

        See data.stretches.
        """
        starts: list[int] = []
        last: list[int] = []
        with _mapped(self.path) as text:
            start = 0
            for size, here in zip(self.document_bytes.tolist(), self._domains, strict=True):
                if domain is None or here == domain:
                    found = ends(text, start, start + size)
                    starts += [start, *found[:-1]]
                    last += found
                start += size
            order = hash_order(text[one:end] for one, end in zip(starts, last, strict=True))
        starts_S = np.array(starts, dtype=np.int64)
        bytes_S = np.array(last, dtype=np.int64) - starts_S
        return SplitTexts(
            name=stretches_of(self.name, domain),
            path=self.path,
            starts=starts_S[order],
            text_bytes=bytes_S[order],
        )

    def add(self, text: bytes | None, file: BinaryIO) -> None:
        """Appends a document to the open file."""
        if text is None:
            self.null_documents += 1
            return
        if not text.strip():
            self.blank_documents += 1
            return
        file.write(text)
        self._keys.append(shuffle_key(self.documents, text))
        self._sizes.append(len(text))

    def join(self, other: GatheredSplit) -> None:
        """Appends the documents of another domain and removes their file."""
        if not self.domain_documents:
            self.domain_documents = (self.documents,)
        with self.path.open("ab") as file, other.path.open("rb") as more:
            shutil.copyfileobj(more, file, PIECE_BYTES)
        other.path.unlink()
        self._sizes.extend(other._sizes)
        self._keys.extend(other._keys)
        self.domain_documents += (other.documents,)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        yield text


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitTexts:
    """Texts of a split on disk, in the order in which they are packed."""

    name: str
    """Of their packed files."""
    path: Path
    starts: NDArray[np.int64]
    """[texts], the first byte of each in the file."""
    text_bytes: NDArray[np.int64]
    """[texts]"""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def total_bytes(self) -> int:
        return int(self.text_bytes.sum())

    def pieces(self, cutting: Cutting) -> Iterator[tuple[int, bytes]]:
        """(place in the order, piece of the text) of each text, in order.

        A long text comes in several pieces.
        """
        with _mapped(self.path) as text:
            for place, start in enumerate(self.starts.tolist()):
                end = start + int(self.text_bytes[place])
                for piece in cutting.pieces(text, start, end):
                    yield place, piece

    def batches(
        self, stage: str, report: Report, *, cutting: Cutting
    ) -> Iterator[list[tuple[int, bytes]]]:
        """The pieces in lists of about PIECE_BYTES; reports the bytes done, as `stage`."""
        total = self.total_bytes
        batch: list[tuple[int, bytes]] = []
        size = done = 0
        report(stage, 0, total)
        for place, piece in self.pieces(cutting):
            batch.append((place, piece))
            size += len(piece)
            if size >= PIECE_BYTES:
                yield batch
                done += size
                report(stage, done, total)
                batch, size = [], 0
        if batch:
            yield batch
            report(stage, done + size, total)


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The text of a corpus on disk."""

    splits: dict[SplitName, GatheredSplit]
    """Those with text; always train and dev."""
    splitting: str
    """How documents were split, for people."""
    null_documents: int
    blank_documents: int
    """Left out."""


def gather(source: Source, folder: Path, report: Report) -> Gathered:
    """Reads a corpus and writes the text of each split to a file in `folder`.

    A corpus with too few documents to be split by a hash is read a second time and split by bytes.
    The parts of a mixed corpus are split one by one and then joined.

    Raises CorpusError if train or dev gets no text.
    """
    if isinstance(source, MixedCorpus):
        return _gather_parts(source, folder, report)
    splits, splitting, nulls, blanks = _gather(source, folder, report)
    for split in splits.values():
        if not split.documents:
            split.path.unlink()
    return Gathered(
        splits={name: split for name, split in splits.items() if split.documents},
        splitting=splitting,
        null_documents=nulls,
        blank_documents=blanks,
    )


def _gather_parts(source: MixedCorpus, folder: Path, report: Report) -> Gathered:
    joined: dict[SplitName, GatheredSplit] = {}
    splitting, nulls, blanks = [], 0, 0
    for number, part in enumerate(source.parts):
        place = folder / f"domain {number}" if number else folder
        place.mkdir(exist_ok=True)
        splits, how, null, blank = _gather(part, place, report)
        splitting.append(f"{part.name}: {how}")
        nulls, blanks = nulls + null, blanks + blank
        for name, split in splits.items():
            if number:
                joined[name].join(split)
            else:
                joined[name] = split
        if number:
            place.rmdir()
    for split in joined.values():
        if not split.documents:
            split.path.unlink()
    return Gathered(
        splits={name: split for name, split in joined.items() if split.documents},
        splitting="; ".join(splitting),
        null_documents=nulls,
        blank_documents=blanks,
    )


def _gather(
    source: Source, folder: Path, report: Report
) -> tuple[dict[SplitName, GatheredSplit], str, int, int]:
    """All three splits of a plain corpus, how it was split, and its null and blank documents."""
    splits, splitting = _read(source.documents(), source.name, folder, report), source.splitting
    documents = sum(split.documents for split in splits.values())
    nulls = sum(split.null_documents for split in splits.values())
    blanks = sum(split.blank_documents for split in splits.values())
    size = sum(split.text_bytes for split in splits.values())
    some_empty = not all(split.documents for split in splits.values())
    if source.divisible and some_empty and size >= SMALLEST_BYTES:
        by_bytes = split_by_bytes(source.documents(), size)
        splits = _read(by_bytes, source.name, folder, report)
        splitting = f"{RULE}; {documents:,} documents are too few to split by a hash"
    _check_train_and_dev(source, splits, documents=documents, left_out=nulls + blanks)
    return splits, splitting, nulls, blanks


def _read(
    documents: Iterable[Document], corpus: str, folder: Path, report: Report
) -> dict[SplitName, GatheredSplit]:
    splits = {split: GatheredSplit(split, folder / f"{split}.text") for split in SPLITS}
    done = reported = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(split.path.open("wb")) for name, split in splits.items()}
        for name, text in _readable(documents, corpus):
            splits[name].add(text, files[name])
            done += len(text or b"")
            if done >= reported + PIECE_BYTES:
                report("read", done, 0)
                reported = done
    report("read", done, done)
    return splits


def _readable(documents: Iterable[Document], corpus: str) -> Iterator[Document]:
    # A generator of its own, to distinguish failed reads from failed writes.
    with reading_explained(corpus):
        yield from documents


def _check_train_and_dev(
    source: Source, splits: dict[SplitName, GatheredSplit], *, documents: int, left_out: int
) -> None:
    if not documents:
        what = f"its {left_out:,} documents are blank" if left_out else "it is blank"
        raise CorpusError(f"{source.name} has no text: {what}; give a corpus with text in it")
    for name in NEEDED_SPLITS:
        if not splits[name].documents:
            size = sum(split.text_bytes for split in splits.values())
            raise CorpusError(
                f"the split {name!r} of {source.name} has no text ({documents:,} documents with "
                f"{size:,} bytes in all, split {source.splitting}); give more text (a single file "
                f"needs {SMALLEST_BYTES:,} bytes), or a folder with text in train and dev"
            )
