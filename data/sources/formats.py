"""The file formats of corpora: a class for each, and a line in `FORMATS`."""

from __future__ import annotations

import codecs
import json
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.documents import GROUPINGS, MEANINGS, grouping_of
from data.errors import CorpusError, first_line, listed
from data.sources.base import checked_row

FIELD = "text"
"""The field of a JSON line, or the column of a Parquet file, that holds the document."""

_BLOCK_BYTES = 1 << 20
_ROWS_A_BATCH = 256


class CorpusFile(ABC):
    """One file of documents. Its methods raise CorpusError."""

    def __init__(self, path: Path, grouping: str | None = None) -> None:
        self.path = path
        self.asked_grouping = grouping
        """A key of GROUPINGS; None decides by the file's content."""

    @property
    def grouping(self) -> str:
        """How text is split into documents, for people; empty if the format leaves no choice."""
        return ""

    def content_hash(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal. Rejects what is not text."""
        digest = sha256()
        for block in self._checked_blocks():
            digest.update(block)
        return digest.hexdigest()

    @abstractmethod
    def documents(self) -> Iterator[bytes]:
        """The documents as UTF-8, in the order of the file."""

    def _checked_blocks(self) -> Iterator[bytes]:
        """The file's bytes."""
        with self.path.open("rb") as file:
            block = file.read(_BLOCK_BYTES)
            if not block:
                raise CorpusError(f"{self.path} is empty; give a file with text in it")
            while block:
                yield block
                block = file.read(_BLOCK_BYTES)


class _Utf8File(CorpusFile):
    """A file that must be UTF-8; a byte order mark is not part of the text."""

    def _checked_blocks(self) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        offset = 0
        for block in super()._checked_blocks():
            pending = len(decoder.getstate()[0])
            self._check(decoder, block, offset - pending)
            offset += len(block)
            yield block
        self._check(decoder, b"", offset - len(decoder.getstate()[0]), final=True)

    def _check(
        self, decoder: codecs.IncrementalDecoder, block: bytes, offset: int, final: bool = False
    ) -> None:
        try:
            decoder.decode(block, final)
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{self.path} is not UTF-8: byte {offset + error.start} is "
                f"0x{error.object[error.start]:02x} ({error.reason}); convert the file to UTF-8, "
                "for example with iconv"
            ) from error

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                file.seek(0)
            yield from file


class TextFile(_Utf8File):
    """Plain text, which data.documents splits into documents."""

    @property
    def grouping(self) -> str:
        return MEANINGS[self._grouping]

    def documents(self) -> Iterator[bytes]:
        yield from GROUPINGS[self._grouping](self._lines())

    @cached_property
    def _grouping(self) -> str:
        with (
            self.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            if text.find(b"\n") < 0 and 0 <= text.find(b"\r") < len(text) - 1:
                raise CorpusError(
                    f"{self.path} ends its lines with carriage returns alone, so it would be "
                    "a single line; convert it, for example with: tr '\\r' '\\n'"
                )
            return self.asked_grouping or grouping_of(text)


class JsonLinesFile(_Utf8File):
    """One JSON object a line, the document in its field `text`."""

    def documents(self) -> Iterator[bytes]:
        for number, line in enumerate(self._lines(), start=1):
            if line.strip():
                yield self._document(number, line)

    def _document(self, number: int, line: bytes) -> bytes:
        place = f"{self.path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"{place} is not valid JSON ({first_line(error)}); each line must be one object "
                f'such as {{"{FIELD}": "…"}}'
            ) from error
        if not isinstance(record, dict) or FIELD not in record:
            found = f"fields {listed(record)}" if isinstance(record, dict) else "no object"
            raise CorpusError(
                f"{place} has no field {FIELD!r} ({found}); each line must be one object "
                f'such as {{"{FIELD}": "…"}}'
            )
        text = record[FIELD]
        if text is None:
            return b""
        if not isinstance(text, str):
            raise CorpusError(
                f"{place}: the field {FIELD!r} is a {type(text).__name__}; it must be a string"
            )
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{place}: character {error.start} of the field {FIELD!r} is half a surrogate "
                "pair, which no UTF-8 text can hold; remove it from the line"
            ) from error


class ParquetFile(CorpusFile):
    """A Parquet file with the documents in its column `text`."""

    def documents(self) -> Iterator[bytes]:
        try:
            with pq.ParquetFile(self.path) as file:
                column = self._column(file.schema_arrow)
                row = 0
                for batch in file.iter_batches(batch_size=_ROWS_A_BATCH, columns=[column]):
                    for text in batch.column(0).cast(pa.large_binary()).to_pylist():
                        yield checked_row(text, row, str(self.path), FIELD)
                        row += 1
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(
                f"{self.path} is not a readable Parquet file ({first_line(error)}); "
                "write or copy it again"
            ) from error

    def _column(self, schema: pa.Schema) -> str:
        if FIELD not in schema.names:
            raise CorpusError(
                f"{self.path} has no column {FIELD!r} (columns {listed(schema.names)}); "
                f"rename the column that holds the documents to {FIELD!r}"
            )
        kind = schema.field(FIELD).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise CorpusError(
                f"{self.path}: the column {FIELD!r} is of type {kind}; it must hold strings"
            )
        return FIELD


FORMATS: dict[str, type[CorpusFile]] = {
    ".txt": TextFile,
    ".jsonl": JsonLinesFile,
    ".parquet": ParquetFile,
}
"""By file name extension, in lower case."""
