"""Checks that a store works."""

from __future__ import annotations

import secrets

from tune_app.stores import naming
from tune_app.stores.base import Store, StoreRefusedError


def write_read_remove(store: Store) -> None:
    """Writes, reads and removes a small object under a unique name.

    Raises StoreError if one of these fails, and StoreRefusedError if other bytes come back.
    """
    name, content = naming.probe(), secrets.token_bytes(64)
    store.write(name, content)
    try:
        returned = store.read(name)
    finally:
        store.remove(name)
    if returned != content:
        raise StoreRefusedError(
            f"{store.url} returned other bytes than were written; check its disk, or use "
            "another store"
        )
