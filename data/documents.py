"""Splits text that comes as lines into documents.

A grouping takes lines (with their line ends) and yields documents that are not blank, without the
blank lines around them. It holds one document at a time.
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


_VISIBLE = re.compile(rb"\S")
_SPACE = re.compile(rb"\s")
_BLANK_LINE = re.compile(rb"\n[^\S\n]*\n")

PIECE_BYTES = 4_096
"""About four contexts of 256 tokens; half a megabyte gives more than a hundred documents."""


def grouping_of(text: mmap.mmap | bytes) -> str:
    """The grouping that the lines of a text file call for: a key of GROUPINGS.

    A single line can decide it, so the result must be shown to the user.
    """
    if _SEPARATOR_LINE.search(text):
        return "separators"
    if _HEADING_LINE.search(text):
        return "headings"
    return "paragraphs"


def is_one_paragraph(text: mmap.mmap | bytes) -> bool:
    """Whether no blank line stands between two lines of text."""
    begin = _VISIBLE.search(text)
    blank = begin and _BLANK_LINE.search(text, begin.start())
    return blank is None or _VISIBLE.search(text, blank.end()) is None


def by_end_of_text(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Documents between lines with nothing but `<|endoftext|>`."""
    document: list[bytes] = []
    for line in lines:
        if _SEPARATOR_LINE.match(line):
            yield from _joined(document)
            document.clear()
        else:
            document.append(line)
    yield from _joined(document)


def by_heading(lines: Iterable[bytes]) -> Iterator[bytes]:
    """WikiText's articles: each begins with its title, a heading of level 1."""
    document: list[bytes] = []
    for line in lines:
        if _HEADING_LINE.match(line):
            yield from _joined(document)
            document.clear()
        document.append(line)
    yield from _joined(document)


def by_blank_line(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Paragraphs."""
    document: list[bytes] = []
    for line in lines:
        if line.strip():
            document.append(line)
        elif document:
            yield from _joined(document)
            document.clear()
    yield from _joined(document)


def by_line(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Each line that is not blank."""
    for line in lines:
        yield from _joined([line])


def by_pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of PIECE_BYTES to twice as many, cut by `cut`; the last may be shorter.

    The lines may come in parts, so that a single line of gigabytes is never in memory.
    """
    text = bytearray()
    for line in lines:
        text += line
        while len(text) >= 2 * PIECE_BYTES:
            end = cut(text, PIECE_BYTES, 2 * PIECE_BYTES)
            yield from _joined([bytes(text[:end])])
            del text[:end]
    yield from _joined([bytes(text)])


def cut(text: bytes | bytearray, earliest: int, latest: int) -> int:
    """Where to cut text, in bytes: behind the first line end in the range, else in front of the
    first white space, else between two characters at `earliest`."""
    line = text.find(b"\n", earliest, latest)
    if line >= 0:
        return line + 1
    if (space := _SPACE.search(text, earliest, latest)) is not None:
        return space.start()
    while earliest < len(text) and text[earliest] & 0xC0 == 0x80:  # inside a UTF-8 character
        earliest += 1
    return earliest


def _joined(lines: list[bytes]) -> Iterator[bytes]:
    """The document of some lines; none if they are blank."""
    document = b"".join(lines).strip(b"\r\n")
    if document.strip():
        yield document


GROUPINGS: dict[str, Grouping] = {
    "separators": by_end_of_text,
    "headings": by_heading,
    "paragraphs": by_blank_line,
    "lines": by_line,
    "pieces": by_pieces,
}
"""By the name that a user can give."""

MEANINGS: dict[str, str] = {
    "separators": f"text between lines of {END_OF_TEXT}",
    "headings": "articles, each from a line like ' = Title = '",
    "paragraphs": "paragraphs, text between blank lines",
    "lines": "lines, each a document",
    "pieces": f"pieces of {PIECE_BYTES // 1024} to {PIECE_BYTES // 512} KiB, cut at line ends, "
    "else at white space",
}
"""Groupings in words, for people."""
