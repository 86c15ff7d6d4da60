"""The tokens of large corpora: files of equal length, each with a manifest of its own.

`train.tokens.00000.npy` and `train.tokens.00000.json`, and so on. Up to CHUNK_TOKENS the tokens of
a split are one file without a number, `train.tokens.npy`, as they always are in older caches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from data.errors import DamagedCorpusError, first_line
from data.manifest import FileRecord

CHUNK_TOKENS = 2**28
"""1 GiB of uint32. Part of the layout: another number gives other files of the same corpus."""

Array: TypeAlias = NDArray[np.uint16] | NDArray[np.uint32]
TokenType: TypeAlias = np.dtype[np.uint16] | np.dtype[np.uint32]


@dataclass(frozen=True, kw_only=True)
class ChunkRecord:
    """The manifest of one chunk."""

    first_token: int
    """Tokens of the split before it."""
    tokens: int
    token_type: str
    bytes: int
    sha256: str
    """Of the file."""

    @classmethod
    def read(cls, path: Path) -> ChunkRecord:
        """Raises DamagedCorpusError if it cannot be used."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DamagedCorpusError(f"{path} cannot be read ({first_line(error)})") from error


class ChunkedTokens:
    """The tokens of several files, read as one array [tokens] without copying them.

    Args:
        chunks: memory-mapped, in their order, or chunked themselves; none is empty.
        start, stop: the part of them that this is; None for all.
    """

    def __init__(
        self,
        chunks: Sequence[Array | ChunkedTokens],
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        self._chunks = tuple(chunks)
        self._ends = np.cumsum([len(chunk) for chunk in chunks])
        self._start = start
        self._stop = int(self._ends[-1]) if stop is None else stop
        self.dtype: TokenType = chunks[0].dtype

    def __len__(self) -> int:
        return self._stop - self._start

    @overload
    def __getitem__(self, place: slice) -> ChunkedTokens: ...
    @overload
    def __getitem__(self, place: NDArray[np.int64]) -> Array: ...

    def __getitem__(self, place: slice | NDArray[np.int64]) -> ChunkedTokens | Array:
        """A part, which still reads from the files, or a copy of the tokens at some places."""
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            assert step == 1
            stop = max(start, stop)
            return ChunkedTokens(self._chunks, start=self._start + start, stop=self._start + stop)
        found: Array = np.empty(place.shape, dtype=self.dtype)
        at = place + self._start
        numbers = np.searchsorted(self._ends, at, side="right")
        for number in np.unique(numbers).tolist():
            here = numbers == number
            chunk = self._chunks[number]
            found[here] = chunk[at[here] - (int(self._ends[number]) - len(chunk))]
        return found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        parts = []
        for chunk, end in zip(self._chunks, self._ends.tolist(), strict=True):
            first = end - len(chunk)
            part = chunk[max(0, self._start - first) : max(0, self._stop - first)]
            if len(part):
                parts.append(np.asarray(part))
        whole: NDArray[Any] = np.concatenate(parts) if parts else np.empty(0, dtype=self.dtype)
        return whole if dtype is None else whole.astype(dtype)

    def tolist(self) -> list[int]:
        """The tokens themselves."""
        found: list[int] = np.asarray(self).tolist()
        return found


class TokenWriter:
    """Writes the tokens of a split as one file, or as chunks if they are more than one holds."""

    def __init__(self, folder: Path, texts: str, dtype: TokenType, *, chunk_tokens: int) -> None:
        self._folder, self._texts, self._dtype = folder, texts, dtype
        self._chunk_tokens = chunk_tokens
        self._done = 0
        """Chunks that are complete."""
        self._length = 0
        """Tokens in the open file."""
        self._file = self._open(single_file(texts))

    def write(self, tokens: NDArray[Any]) -> None:
        """Appends tokens."""
        while len(tokens):
            if self._length == self._chunk_tokens:
                self._next()
            part = tokens[: self._chunk_tokens - self._length]
            self._file.write(part.astype(self._dtype).tobytes())
            self._length += len(part)
            tokens = tokens[len(part) :]

    def close(self) -> None:
        """Completes the last file."""
        self._complete()

    def abandon(self) -> None:
        """Closes the file as it is."""
        self._file.close()

    def _next(self) -> None:
        self._complete(more=True)
        self._file = self._open(chunk_file(self._texts, self._done))
        self._length = 0

    def _complete(self, *, more: bool = False) -> None:
        self._file.seek(0)
        # NumPy pads the header so that the first axis can grow in place.
        write_header(self._file, self._dtype, self._length)
        self._file.close()
        path = Path(self._file.name)
        if not more and self._done == 0:
            return
        if self._done == 0:
            path = path.rename(self._folder / chunk_file(self._texts, 0))
        file = FileRecord.of(path)
        record = ChunkRecord(
            first_token=self._done * self._chunk_tokens,
            tokens=self._length,
            token_type=self._dtype.name,
            bytes=file.bytes,
            sha256=file.sha256,
        )
        path.with_suffix(".json").write_text(json.dumps(asdict(record), indent=2) + "\n", "utf-8")
        self._done += 1

    def _open(self, name: str) -> BinaryIO:
        file = (self._folder / name).open("wb")
        write_header(file, self._dtype, 0)
        return file


@contextmanager
def token_writer(
    folder: Path, texts: str, dtype: TokenType, *, chunk_tokens: int | None = None
) -> Iterator[TokenWriter]:
    """A writer that is closed at the end of the block."""
    writer = TokenWriter(folder, texts, dtype, chunk_tokens=chunk_tokens or CHUNK_TOKENS)
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise
    writer.close()


def single_file(texts: str) -> str:
    """The file of tokens that fit into one."""
    return f"{texts}.tokens.npy"


def chunk_file(texts: str, number: int) -> str:
    return f"{texts}.tokens.{number:05d}.npy"


def files_of_tokens(texts: str, names: Sequence[str]) -> list[str]:
    """Those of the files of a corpus that hold the tokens of these texts, in their order."""
    chunks = [chunk_file(texts, number) for number in range(len(names))]
    return [name for name in (single_file(texts), *chunks) if name in names]


def read_tokens(folder: Path, texts: str) -> Array | ChunkedTokens:
    """The tokens of a split, memory-mapped. Raises DamagedCorpusError for chunks with a gap."""
    if (folder / single_file(texts)).exists():
        whole: Array = np.load(folder / single_file(texts), mmap_mode="r")
        return whole
    chunks: list[Array] = []
    first = 0
    while (path := folder / chunk_file(texts, len(chunks))).exists():
        record = ChunkRecord.read(path.with_suffix(".json"))
        chunk: Array = np.load(path, mmap_mode="r")
        found = (first, len(chunk), chunk.dtype.name)
        if (record.first_token, record.tokens, record.token_type) != found:
            raise DamagedCorpusError(
                f"{path} has {len(chunk):,} tokens of {chunk.dtype.name} behind {first:,} others; "
                f"its manifest says {record.tokens:,} of {record.token_type} behind "
                f"{record.first_token:,}"
            )
        chunks.append(chunk)
        first += len(chunk)
    if not chunks:
        raise DamagedCorpusError(f"{folder / single_file(texts)} is missing")
    return ChunkedTokens(chunks)


def write_header(file: BinaryIO, dtype: np.dtype[Any], length: int) -> None:
    """Writes the header of a one-dimensional .npy file."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)
