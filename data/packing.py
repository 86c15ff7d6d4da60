"""From documents to packed tokens: gather the text by split, then encode it in shuffled order.

The text of a corpus is streamed to one file a split and read back through a memory map, so that
a corpus larger than memory can be shuffled. What stays in memory is 16 bytes a document.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from data.errors import CorpusError, reading_explained
from data.manifest import SplitRecord
from data.prepared import bytes_file, offsets_file, tokens_file
from data.reporting import Report
from data.sources.base import Document, Source
from data.splits import SPLITS, SplitName, shuffle_key
from data.tokenizer import END_OF_TEXT_ID, PIECE_BYTES, pieces

PERCENTILES = (5, 25, 50, 75, 95)


def token_type(vocabulary: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """The narrowest type that holds every token."""
    return np.dtype(np.uint16) if vocabulary <= 1 << 16 else np.dtype(np.uint32)


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

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """(document, piece of its text), in shuffled order; long documents come in pieces."""
        ends = np.cumsum(self.document_bytes)
        starts = ends - self.document_bytes
        with (
            self.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            for document in self.order().tolist():
                for piece in pieces(text, int(starts[document]), int(ends[document])):
                    yield document, piece


def gather(source: Source, folder: Path, report: Report) -> dict[SplitName, GatheredSplit]:
    """Reads a corpus once and puts the text of each split into a file of `folder`.

    Raises CorpusError where a split gets no text.
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
    # A generator of its own, so that failed reads are told apart from failed writes.
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
                "documents, or a folder with text in each of train, valid and test"
            )


def training_texts(split: GatheredSplit, report: Report) -> Iterator[list[str]]:
    """The text of a split in batches, for the tokenizer's trainer."""
    for batch in _batched(split.pieces(), PIECE_BYTES, "train the tokenizer", split, report):
        yield [piece.decode() for _, piece in batch]


def pack(
    split: GatheredSplit, tokenizer: Tokenizer, vocabulary: int, folder: Path, report: Report
) -> SplitRecord:
    """Encodes a split into its three files in `folder`."""
    order = split.order()
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    text_tokens = np.zeros(len(order), dtype=np.int64)
    dtype = token_type(vocabulary)
    with (folder / tokens_file(split.name)).open("wb") as file:
        header_bytes = _write_header(file, dtype, 0)
        previous = -1
        for batch in _batched(split.pieces(), PIECE_BYTES, f"encode {split.name}", split, report):
            encodings = tokenizer.encode_batch_fast([piece.decode() for _, piece in batch])
            stream: list[int] = []
            for (document, _), encoding in zip(batch, encodings, strict=True):
                if document != previous:
                    stream.append(END_OF_TEXT_ID)
                    previous = document
                stream.extend(encoding.ids)
                text_tokens[rank[document]] += len(encoding.ids)
            file.write(np.array(stream, dtype=dtype).tobytes())
        file.seek(0)
        tokens = int(text_tokens.sum()) + len(order)
        # NumPy pads the header so that the first axis can grow in place.
        rewritten = _write_header(file, dtype, tokens)
        assert rewritten == header_bytes
    offsets = np.concatenate([[0], np.cumsum(text_tokens + 1)]).astype(np.int64)
    _write_array(folder / offsets_file(split.name), offsets)
    _write_array(folder / bytes_file(split.name), split.document_bytes[order])
    return _record(split, text_tokens)


def _record(split: GatheredSplit, text_tokens: NDArray[np.int64]) -> SplitRecord:
    percentiles = np.percentile(text_tokens, PERCENTILES, method="nearest")
    return SplitRecord(
        documents=split.documents,
        text_bytes=split.text_bytes,
        tokens=int(text_tokens.sum()) + split.documents,
        tokens_per_document={
            **{f"p{p}": int(value) for p, value in zip(PERCENTILES, percentiles, strict=True)},
            "max": int(text_tokens.max()),
        },
        bytes_per_token=split.text_bytes / int(text_tokens.sum()),
    )


def _batched(
    documents: Iterable[tuple[int, bytes]],
    limit: int,
    stage: str,
    split: GatheredSplit,
    report: Report,
) -> Iterator[list[tuple[int, bytes]]]:
    """Lists of about `limit` bytes; reports what has been taken from each."""
    batch: list[tuple[int, bytes]] = []
    size = done = 0
    report(stage, 0, split.text_bytes)
    for document, piece in documents:
        batch.append((document, piece))
        size += len(piece)
        if size >= limit:
            yield batch
            done += size
            report(stage, done, split.text_bytes)
            batch, size = [], 0
    if batch:
        yield batch
        report(stage, done + size, split.text_bytes)


def _write_header(
    file: BinaryIO, dtype: np.dtype[np.uint16] | np.dtype[np.uint32], length: int
) -> int:
    header = {"descr": dtype.str, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _write_array(path: Path, array: NDArray[np.int64]) -> None:
    # Not np.save: on a full disk it raises an OSError that does not say so.
    with path.open("wb") as file:
        header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.tobytes())
