"""The interface of a corpus: its name, its hash and its documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from data.errors import CorpusError
from data.splits import SplitName


class Document(NamedTuple):
    """One document of a corpus."""

    split: SplitName
    text: bytes | None
    """Valid UTF-8; None for a null row. Null and blank documents are left out and counted later, in
    one place."""


class Source(Protocol):
    """A corpus before preparation. Both methods raise CorpusError."""

    @property
    def name(self) -> str:
        """As the user wrote it."""
        ...

    @property
    def splitting(self) -> str:
        """How documents are split into train, dev and test, for people."""
        ...

    @property
    def divisible(self) -> bool:
        """Whether no document has a split of its own, so that the text may be split elsewhere."""
        ...

    @property
    def grouping(self) -> str:
        """How text is split into documents, for people; empty if the corpus leaves no choice."""
        ...

    def content_hash(self) -> str:
        """SHA-256 of everything that decides the documents and their splits, in hexadecimal.

        Independent of the machine and of the corpus' location, and much faster than reading the
        documents.
        """
        ...

    def documents(self) -> Iterator[Document]:
        """Streams the documents in a fixed order."""
        ...


def checked_row(text: bytes | None, row: int, corpus: str, column: str) -> bytes | None:
    """A value of an Arrow column of strings, which may be null or, in a faulty file, not UTF-8."""
    if text is None:
        return None
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{corpus}: row {row} of the column {column!r} is not UTF-8 at byte {error.start}; "
            "write the data again with valid strings"
        ) from error
    return text
