"""Splits text that comes as lines into documents.

A grouping takes lines (with their line ends) and yields documents without the blank lines around
them. It holds one document at a time.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

END_OF_TEXT = "<|endoftext|>"

Grouping: TypeAlias = Callable[[Iterable[bytes]], Iterator[bytes]]

_SEPARATOR_LINE = re.compile(rb"^[ \t]*<\|endoftext\|>[ \t]*\r?$", re.MULTILINE)
# WikiText writes a title as " = Title = " and a section as " = = Section = = ".
_HEADING_LINE = re.compile(rb"^ = (?!=)[^\r\n]*(?<!=) = ?\r?$", re.MULTILINE)


def grouping_of(text: mmap.mmap | bytes) -> str:
    """The grouping that a text file's content calls for: a key of GROUPINGS.

    A single line can decide it, so the result must be shown to the user.
    """
    if _SEPARATOR_LINE.search(text):
        return "separators"
    if _HEADING_LINE.search(text):
        return "headings"
    return "paragraphs"


def by_end_of_text(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Documents between lines with nothing but `<|endoftext|>`."""
    document: list[bytes] = []
    for line in lines:
        if _SEPARATOR_LINE.match(line):
            yield _joined(document)
            document.clear()
        else:
            document.append(line)
    yield _joined(document)


def by_heading(lines: Iterable[bytes]) -> Iterator[bytes]:
    """WikiText's articles: each begins with its title, a heading of level 1."""
    document: list[bytes] = []
    for line in lines:
        if _HEADING_LINE.match(line):
            yield _joined(document)
            document.clear()
        document.append(line)
    yield _joined(document)


def by_blank_line(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Paragraphs."""
    document: list[bytes] = []
    for line in lines:
        if line.strip():
            document.append(line)
        elif document:
            yield _joined(document)
            document.clear()
    yield _joined(document)


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(lines).strip(b"\r\n")


GROUPINGS: dict[str, Grouping] = {
    "separators": by_end_of_text,
    "headings": by_heading,
    "paragraphs": by_blank_line,
}
"""By the name that a user can give."""

MEANINGS: dict[str, str] = {
    "separators": f"text between lines of {END_OF_TEXT}",
    "headings": "articles, each from a line like ' = Title = '",
    "paragraphs": "paragraphs, text between blank lines",
}
"""Groupings in words, for people."""
