"""Names of objects in a store, and temporary names while they are being written."""

from __future__ import annotations

import secrets

TEMPORARY = ".tmp"

LEFT_FOR_GOOD = 3600.0
"""Seconds after which no process can still be writing a temporary file."""


def checked(name: str) -> str:
    """The name, if it is a valid object name.

    Raises ValueError if it is not relative, leads out of the store or looks half-written.
    """
    checked_folder(name)
    if not name or name.endswith(TEMPORARY):
        raise ValueError(
            f"invalid name {name!r}: it is empty or ends in {TEMPORARY}, which is reserved for "
            "half-written objects; use another name"
        )
    return name


def checked_folder(folder: str) -> str:
    """The folder, if it is inside the store; "" is the store itself. Raises ValueError."""
    parts = folder.split("/") if folder else []
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        raise ValueError(
            f"invalid name {folder!r}: names in a store are relative, of printable characters, "
            "with one / between their parts and no part '.' or '..'"
        )
    return folder


def temporary(name: str) -> str:
    """The unique temporary name under which an object is written first."""
    return f"{name}.{secrets.token_hex(8)}{TEMPORARY}"


def finished(name: str) -> str:
    """The inverse of `temporary`."""
    return name.removesuffix(TEMPORARY).rpartition(".")[0]


def probe() -> str:
    """An unused name, for checking that a store works."""
    return f".check-{secrets.token_hex(8)}"
