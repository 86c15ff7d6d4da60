"""Names of contents, and of those that are still being written."""

from __future__ import annotations

import secrets

TEMPORARY = ".tmp"

LEFT_FOR_GOOD = 3600.0
"""Seconds after which nobody can still be writing a temporary file."""


def checked(name: str) -> str:
    """The name, where a store can hold a content of it.

    Raises ValueError where it is not relative, leads out of its store or looks half-written.
    """
    checked_folder(name)
    if not name or name.endswith(TEMPORARY):
        raise ValueError(
            f"no content can be named {name!r}: it is empty or ends in {TEMPORARY}, as only "
            "half-written ones do; give it another name"
        )
    return name


def checked_folder(folder: str) -> str:
    """The folder, where it lies in its store; "" is the store itself. Raises ValueError."""
    parts = folder.split("/") if folder else []
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        raise ValueError(
            f"{folder!r} names nothing in a store: names are relative, of printable characters, "
            "with one / between their parts and no '.' or '..' among them"
        )
    return folder


def temporary(name: str) -> str:
    """Where a content of that name is written first: nobody else writes there."""
    return f"{name}.{secrets.token_hex(8)}{TEMPORARY}"


def probe() -> str:
    """A name that no content has, for a look whether a store works."""
    return f".check-{secrets.token_hex(8)}"
