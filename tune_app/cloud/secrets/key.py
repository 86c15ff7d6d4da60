"""The key of the account that pays."""

from __future__ import annotations

from typing import Any, BinaryIO

MAXIMUM_KEY = 4_096


class ApiKey:
    """A secret that only `reveal` shows: no repr, log or pickle holds it."""

    def __init__(self, text: str, *, called: str = "the account's key") -> None:
        """Raises ValueError, with what it is called, for what cannot be a key."""
        text = text.strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(
                f"{called} has {len(text)} characters, not all of which can be part of a key; copy "
                "it again"
            )
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "ApiKey(…)"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a key cannot be pickled")


def read_key(stream: BinaryIO) -> ApiKey:
    """The key in a stream's first line. Raises ValueError if there is none."""
    line = stream.readline(MAXIMUM_KEY)
    text = line.decode("ascii", errors="replace").strip()
    if not text:
        raise ValueError("no key on standard input; write the account's key there, in one line")
    return ApiKey(text)
