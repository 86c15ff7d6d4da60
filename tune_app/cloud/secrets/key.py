"""The key of the account that pays."""

from __future__ import annotations

from typing import Any


class ApiKey:
    """A secret that shows itself only where it is asked for by name."""

    def __init__(self, text: str) -> None:
        text = text.strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(
                f"the Vast.ai key has {len(text)} characters that cannot all be a key; "
                "copy it anew from https://cloud.vast.ai/manage-keys/"
            )
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "ApiKey(…)"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a key is not written anywhere")
