"""A head's own id, which the labels of its machines carry."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

FILE = "head_id"
_ID = re.compile(r"h[0-9a-f]{8}")


def own_head_id(folder: Path) -> str:
    """The id that lies in the daemon's folder, made if missing.

    Raises OSError if it cannot be read or written.
    """
    found = read_head_id(folder)
    if found:
        return found
    made = f"h{secrets.token_hex(4)}"
    new = folder / f"{FILE}.new"
    new.write_text(f"{made}\n", "ascii")
    new.replace(folder / FILE)
    return made


def read_head_id(folder: Path) -> str:
    """The same; empty where none was made, or where it is damaged."""
    try:
        text = (folder / FILE).read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    return text if _ID.fullmatch(text) else ""
