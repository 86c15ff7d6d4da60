"""A store from its URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tune_app.stores.base import Store
from tune_app.stores.path import PathStore

EXAMPLES = "runs/store, file:///srv/store"


def open_store(url: str) -> Store:
    """The store that a URL names; nothing is connected to yet.

    Raises ValueError where the URL names none.
    """
    if not url.strip():
        raise ValueError(f"the URL of a store is empty; write, say, {EXAMPLES}")
    if "://" not in url:
        return PathStore(Path(url).expanduser())
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or len(parts.path) < 2 or parts.query:
            raise ValueError(f"{url!r} names no folder; write, say, file:///srv/store")
        return PathStore(Path(unquote(parts.path)))
    raise ValueError(f"no store is named by {parts.scheme}://; write, say, {EXAMPLES}")
