"""The file formats of corpora: a class for each, and a line in `FORMATS`."""

from __future__ import annotations

import codecs
import json
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from data.documents import GROUPINGS, MEANINGS, grouping_of, is_one_paragraph
from data.errors import CorpusError, first_line, listed
from data.sources.base import checked_row

FIELD = "text"
"""The field of a JSON line, or the column of a Parquet file, that holds the document by default."""

_BLOCK_BYTES = 1 << 20
_ROWS_A_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read files whose format leaves a choice."""

    field: str | None = None
    """Of a JSON line or a Parquet file; None for FIELD."""
    grouping: str | None = None
    """Of plain text, a key of GROUPINGS; None decides by the file's content."""
    cut_one_paragraph: bool = False
    """Whether text that would be a single document is cut into pieces, if no grouping is given."""


class CorpusFile(ABC):
    """One file of documents. Its methods raise CorpusError."""

    has_fields: ClassVar[bool] = True
    """Whether a document is a field of a record; else it is a part of plain text."""

    def __init__(self, path: Path, reading: Reading = Reading()) -> None:
        self.path = path
        self.reading = reading
        self.field = reading.field or FIELD

    @property
    def grouping(self) -> str:
        """How text is split into documents, for people; empty if the format leaves no choice."""
        return ""

    @property
    def identity(self) -> str:
        """What decides the documents besides the file's bytes. It stands in every corpus' hash."""
        name = type(self).__name__
        return name if self.field == FIELD else f"{name}:{self.field}"

    def content_hash(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal. Rejects what is not text."""
        digest = sha256()
        for block in self._checked_blocks():
            digest.update(block)
        return digest.hexdigest()

    @abstractmethod
    def documents(self) -> Iterator[bytes | None]:
        """The documents as UTF-8, in the order of the file; None for a null."""

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

    def _lines(self, at_most: int = -1) -> Iterator[bytes]:
        """The lines with their ends; a line of more than `at_most` bytes comes in parts."""
        with self.path.open("rb") as file:
            if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                file.seek(0)
            while line := file.readline(at_most):
                yield line


class TextFile(_Utf8File):
    """Plain text, which data.documents splits into documents."""

    has_fields = False

    @property
    def grouping(self) -> str:
        return MEANINGS[self._groupings[1]]

    @property
    def identity(self) -> str:
        by_lines, chosen = self._groupings
        return "TextFile" if chosen == by_lines else f"TextFile:{chosen}"

    def documents(self) -> Iterator[bytes]:
        chosen = self._groupings[1]
        yield from GROUPINGS[chosen](self._lines(_BLOCK_BYTES if chosen == "pieces" else -1))

    @cached_property
    def _groupings(self) -> tuple[str, str]:
        """The grouping that the file's lines call for, and the one that is used."""
        with (
            self.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            if text.find(b"\n") < 0 and 0 <= text.find(b"\r") < len(text) - 1:
                raise CorpusError(
                    f"{self.path} ends its lines with carriage returns alone, so it would be "
                    "a single line; convert it, for example with: tr '\\r' '\\n'"
                )
            found = grouping_of(text)
            if self.reading.grouping is not None:
                return found, self.reading.grouping
            whole = found == "paragraphs" and is_one_paragraph(text)
            return found, "pieces" if whole and self.reading.cut_one_paragraph else found


class JsonLinesFile(_Utf8File):
    """One JSON object a line, the document in one of its fields."""

    def documents(self) -> Iterator[bytes | None]:
        for number, line in enumerate(self._lines(), start=1):
            if line.strip():
                yield self._document(number, line)

    def _document(self, number: int, line: bytes) -> bytes | None:
        place, field = f"{self.path}:{number}", self.field
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"{place} is not valid JSON ({first_line(error)}); each line must be one object "
                f"such as {json.dumps({field: '…'}, ensure_ascii=False)}"
            ) from error
        if not isinstance(record, dict):
            raise CorpusError(
                f"{place} is no object, so it has no field {field!r}; each line must be one object "
                f"such as {json.dumps({field: '…'}, ensure_ascii=False)}"
            )
        if field not in record:
            raise CorpusError(
                f"{place} has no field {field!r} (fields {listed(record)}); every line needs it; "
                "name the field of the documents behind the corpus, as in "
                f"{_example(self.path, _longest_first(record))}"
            )
        text = record[field]
        if text is None:
            return None
        if not isinstance(text, str):
            raise CorpusError(
                f"{place}: the field {field!r} is a {type(text).__name__}; it must be a string"
            )
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{place}: character {error.start} of the field {field!r} is half a surrogate "
                "pair, which no UTF-8 text can hold; remove it from the line"
            ) from error


class ParquetFile(CorpusFile):
    """A Parquet file with the documents in one of its columns."""

    def documents(self) -> Iterator[bytes | None]:
        try:
            with pq.ParquetFile(self.path) as file:
                column = self._column(file.schema_arrow)
                row = 0
                for batch in file.iter_batches(batch_size=_ROWS_A_BATCH, columns=[column]):
                    for text in batch.column(0).cast(pa.large_binary()).to_pylist():
                        yield checked_row(text, row, str(self.path), self.field)
                        row += 1
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(
                f"{self.path} is not a readable Parquet file ({first_line(error)}); "
                "write or copy it again"
            ) from error

    def _column(self, schema: pa.Schema) -> str:
        if self.field not in schema.names:
            raise CorpusError(
                f"{self.path} has no column {self.field!r} (columns {listed(schema.names)}); name "
                "the column of the documents behind the corpus, as in "
                f"{_example(self.path, [one.name for one in schema if _is_string(one.type)])}"
            )
        kind = schema.field(self.field).type
        if not _is_string(kind):
            raise CorpusError(
                f"{self.path}: the column {self.field!r} is of type {kind}; it must hold strings"
            )
        return self.field


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _example(path: Path, fields: Sequence[str]) -> str:
    """How to name a field, the likeliest one if there is any."""
    likely = next((name for name in fields if name.isprintable() and len(name) <= 40), "FIELD")
    return f"{path.name}:{likely}"


def _longest_first(record: Mapping[str, Any]) -> list[str]:
    """The fields that hold a string or null, the longest string first."""
    strings = {name: value or "" for name, value in record.items() if isinstance(value, str | None)}
    return sorted(strings, key=lambda name: -len(strings[name]))


FORMATS: dict[str, type[CorpusFile]] = {
    ".txt": TextFile,
    ".jsonl": JsonLinesFile,
    ".parquet": ParquetFile,
}
"""By file name extension, in lower case."""
