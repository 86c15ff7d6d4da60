"""How an instance ends itself: see ending.sh. Pure."""

from __future__ import annotations

import re
from pathlib import Path

_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")


def ending(base_url: str) -> str:
    """Shell functions `destroy` and `stop`. Raises ValueError for what is no base URL."""
    if not _URL.fullmatch(base_url):
        raise ValueError(f"the market's base URL is {base_url[:80]!r}; expected https://HOST")
    text = (Path(__file__).parent / "ending.sh").read_text("ascii")
    return text.replace("@API", base_url)
