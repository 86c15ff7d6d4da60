"""The text of a corpus, gathered by split on disk and read back in shuffled order.

It is streamed to one file per split and read through a memory map, so that a corpus larger than
memory can be shuffled. Only a few numbers per document stay in memory.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from data.errors import CorpusError, reading_explained
from data.progress import Report
from data.sources.base import Document, Source
from data.splits import SPLITS, SplitName, shuffle_key
from data.tokenizers.cutting import PIECE_BYTES, Cutting


class GatheredSplit:
    """The text of one split on disk. Blank documents are left out."""

    def __init__(self, name: SplitName, path: Path) -> None:
        self.name = name
        self.path = path
        self.blank_documents = 0
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

    def order(self) -> NDArray[np.int64]:
        """[documents]: which document comes first, second … in the shuffled order."""
        return np.argsort(np.frombuffer(self._keys, dtype=np.uint64), kind="stable")

    def add(self, text: bytes, file: BinaryIO) -> None:
        """Appends a document to the open file."""
        if not text.strip():
            self.blank_documents += 1
            return
        file.write(text)
        self._keys.append(shuffle_key(self.documents, text))
        self._sizes.append(len(text))

    def pieces(self, cutting: Cutting) -> Iterator[tuple[int, bytes]]:
        """(rank in the shuffled order, piece of the text) of each document, in that order.

        A long document comes in several pieces.
        """
        ends = np.cumsum(self.document_bytes)
        starts = ends - self.document_bytes
        with (
            self.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            for rank, document in enumerate(self.order().tolist()):
                for piece in cutting.pieces(text, int(starts[document]), int(ends[document])):
                    yield rank, piece

    def batches(
        self, stage: str, report: Report, *, cutting: Cutting
    ) -> Iterator[list[tuple[int, bytes]]]:
        """The pieces in lists of about PIECE_BYTES; reports the bytes done, as `stage`."""
        total = self.text_bytes
        batch: list[tuple[int, bytes]] = []
        size = done = 0
        report(stage, 0, total)
        for rank, piece in self.pieces(cutting):
            batch.append((rank, piece))
            size += len(piece)
            if size >= PIECE_BYTES:
                yield batch
                done += size
                report(stage, done, total)
                batch, size = [], 0
        if batch:
            yield batch
            report(stage, done + size, total)


def gather(source: Source, folder: Path, report: Report) -> dict[SplitName, GatheredSplit]:
    """Reads a corpus once and writes the text of each split to a file in `folder`.

    Raises CorpusError if a split gets no text.
    """
    gathered = {split: GatheredSplit(split, folder / f"{split}.text") for split in SPLITS}
    done = reported = 0
    with ExitStack() as stack:
        files = {split: stack.enter_context(gathered[split].path.open("wb")) for split in SPLITS}
        for split, text in _readable(source):
            gathered[split].add(text, files[split])
            done += len(text)
            if done >= reported + PIECE_BYTES:
                report("read", done, 0)
                reported = done
    report("read", done, done)
    _check_every_split_has_text(source, gathered)
    return gathered


def _readable(source: Source) -> Iterator[Document]:
    # A generator of its own, to distinguish failed reads from failed writes.
    with reading_explained(source.name):
        yield from source.documents()


def _check_every_split_has_text(source: Source, gathered: dict[SplitName, GatheredSplit]) -> None:
    documents = sum(split.documents for split in gathered.values())
    blank = sum(split.blank_documents for split in gathered.values())
    if not documents:
        raise CorpusError(
            f"{source.name} has no text: its {blank:,} documents are blank; "
            "give a corpus with text in it"
        )
    for split in gathered.values():
        if not split.documents:
            raise CorpusError(
                f"the split {split.name!r} of {source.name} has no text "
                f"({documents:,} documents in all, split {source.splitting}); give more "
                "documents, or a folder with text in each of train, dev and test"
            )
