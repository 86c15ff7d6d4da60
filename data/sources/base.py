"""What every kind of corpus can do: name itself, hash itself and yield its documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from data.errors import CorpusError
from data.splits import SplitName


class Document(NamedTuple):
    """One document of a corpus."""

    split: SplitName
    text: bytes
    """Valid UTF-8. It may be blank: blank documents are dropped later, in one place."""


class Source(Protocol):
    """A corpus as it was found, before anything is cached. Both methods raise CorpusError."""

    @property
    def name(self) -> str:
        """As the user wrote it."""
        ...

    @property
    def splitting(self) -> str:
        """How documents come to be train, dev or test; for people."""
        ...

    @property
    def grouping(self) -> str:
        """How text makes documents, for people; empty where the corpus leaves no choice."""
        ...

    def content_hash(self) -> str:
        """SHA-256 of all that decides the documents and their splits, in hexadecimal.

        It does not depend on the machine or on where the corpus lies, and is much faster than
        reading the documents.
        """
        ...

    def documents(self) -> Iterator[Document]:
        """The documents in a fixed order, streamed."""
        ...


def checked_row(text: bytes | None, row: int, corpus: str, column: str) -> bytes:
    """A value of an Arrow column of strings, which may be null or, in a faulty file, not UTF-8."""
    if text is None:
        return b""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{corpus}: row {row} of the column {column!r} is not UTF-8 at byte {error.start}; "
            "write the data again with valid strings"
        ) from error
    return text
