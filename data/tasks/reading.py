"""Rows of published files: tab-separated with a header, or JSON lines; either may be gzipped."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import reading_explained
from data.tasks.base import TaskError

SUFFIXES = (".tsv", ".jsonl", ".tsv.gz", ".jsonl.gz")
_CHECKED_CHARACTERS = 12


@dataclass(frozen=True, kw_only=True)
class Row:
    """One record of a file."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The records of a file or a table, which has at least one."""

    place: str
    """The path of the file, or where else they are."""
    title: str
    """Its name, without the folder."""
    sha256: str
    rows: tuple[Row, ...]

    @property
    def source(self) -> str:
        """The file for people: its name and the beginning of its SHA-256."""
        return f"{self.title} (SHA-256 {self.sha256[:_CHECKED_CHARACTERS]}…)"

    def text(self, row: Row, *names: str) -> str:
        """A row's text under the first of the names that the file has.

        Raises TaskError if it has none of them, or another value than text in it.
        """
        for name in names:
            if name in row.values:
                value = row.values[name]
                if isinstance(value, bool):
                    return str(value).lower()
                if isinstance(value, (str, int)):
                    return str(value)
                raise TaskError(f"{self.place}, {row.name}: {name!r} is {value!r}; it must be text")
        has = ", ".join(repr(name) for name in row.values)
        wanted = " or ".join(repr(name) for name in names)
        raise TaskError(f"{self.place}, {row.name}: there is no column {wanted}; it has {has}")


def read_rows(path: Path) -> Rows:
    """All records of a file.

    Raises TaskError if it cannot be read, is damaged, empty, or not UTF-8.
    """
    with reading_explained(str(path)):
        content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise TaskError(f"{path} is damaged ({error}); download it again") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    rows = tuple(_json_rows(path, text) if kind == "jsonl" else _table_rows(path, text))
    if not rows:
        raise TaskError(f"{path} has no example in it; give the published file")
    return Rows(place=str(path), title=path.name, sha256=sha256, rows=rows)


def _table_rows(path: Path, text: str) -> Iterator[Row]:
    # Published TSV files quote nothing: a quotation mark is text.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    header = [name.strip() for name in next(lines, [])]
    for number, fields in enumerate(lines, start=2):
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(header):
            raise TaskError(
                f"{path}, line {number}: it has {len(fields)} columns, but the header "
                f"{len(header)}; give the published file"
            )
        yield Row(name=f"line {number}", values=dict(zip(header, fields, strict=True)))


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise TaskError(f"{path}, line {number}: it is no JSON ({error})") from error
        if not isinstance(values, dict):
            raise TaskError(f"{path}, line {number}: it is {line[:40]!r}, not a JSON object")
        yield Row(name=f"line {number}", values=values)
