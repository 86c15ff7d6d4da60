"""Cuts long documents and long runs of characters, so that memory and time stay bounded."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass

PIECE_BYTES = 1 << 20

RUN = 256
"""Characters. No word of ordinary text or source code is so long: the longest in the standard
library and in movie reviews have 80, so nothing is cut there."""

_SYMBOLS = re.compile(r"(?:[^\w\s]|_)*")


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """Where a document's text may be cut into pieces that are encoded separately."""

    behind: re.Pattern[bytes] | None = None
    """A document of more than PIECE_BYTES is cut behind matches, which must change no token; None
    if no place is safe: such documents are encoded whole."""
    runs: bool = False
    """Whether to cut runs of white space, letters, digits or symbols of RUN to 2·RUN characters:
    BPE's time grows with the square of a word's length. It changes the tokens of such runs."""

    def pieces(
        self, text: mmap.mmap | bytes, start: int, end: int, limit: int = PIECE_BYTES
    ) -> Iterator[bytes]:
        """text[start:end], valid UTF-8, in pieces of about `limit` bytes.

        A piece is longer if there is nothing to cut behind.
        """
        while self.behind is not None and end - start > limit:
            found = self.behind.search(text, start + limit - 1, end)
            if found is None:
                break
            yield from self._without_long_runs(text[start : found.end()])
            start = found.end()
        yield from self._without_long_runs(text[start:end])

    def _without_long_runs(self, piece: bytes) -> Iterator[bytes]:
        if not self.runs:
            yield piece
            return
        text, begun = piece.decode(), 0
        # A run of 2·RUN characters fills one of these blocks, wherever it begins.
        for start in range(0, len(text) - RUN + 1, RUN):
            if _is_run(text[start : start + RUN]):
                yield text[begun : start + RUN].encode()
                begun = start + RUN
        if not begun:
            yield piece
        elif begun < len(text):
            yield text[begun:].encode()


def _is_run(block: str) -> bool:
    """Whether all characters are of one class that pre-tokenisation makes words of."""
    return (
        block.isspace()
        or block.isalpha()
        or block.isnumeric()
        or _SYMBOLS.fullmatch(block) is not None
    )
