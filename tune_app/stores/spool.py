"""What is streamed to and from a store: sinks, and files that keep an object out of memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from tune_app.stores.base import Data, Sink, StoreFullError


class Pieces:
    """A sink that passes its stream on in pieces of one size; `finish` passes on the rest.

    Args:
        take: takes a piece, which is only valid until it returns.
        size: of a piece in bytes; the last one may be smaller.
    """

    def __init__(self, take: Callable[[memoryview], None], *, size: int) -> None:
        self._take = take
        self._size = size
        self._held = bytearray()

    def write(self, data: Data, /) -> int:
        """Takes all of the data and returns its length."""
        rest = memoryview(data).cast("B")
        length = len(rest)
        while rest:
            room = self._size - len(self._held)
            self._held += rest[:room]
            rest = rest[room:]
            if len(self._held) == self._size:
                self.finish()
        return length

    @property
    def held(self) -> bytearray:
        """What was not passed on yet."""
        return self._held

    def finish(self) -> None:
        """Passes on what is left, if anything is."""
        if self._held:
            held, self._held = self._held, bytearray()
            self._take(memoryview(held))


@contextmanager
def spooled(fetch: Callable[[Sink], None]) -> Iterator[BinaryIO]:
    """A temporary file with what `fetch` writes, from its start; gone after the block.

    It lies where TMPDIR says. Raises StoreFullError if there is no room.
    """
    with tempfile.TemporaryFile(prefix="stellux-") as file:
        fetch(_Spool(file))
        file.seek(0)
        yield file


class _Spool:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: Data, /) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            raise StoreFullError(
                f"the folder of temporary files, {tempfile.gettempdir()}, cannot take what is "
                f"read ({error.strerror or error}); make room there, or set TMPDIR"
            ) from error
