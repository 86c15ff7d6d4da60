"""Compiled code in the checkpoint store, so that another worker or a later sweep does not compile.

It is code: whoever can write to the store can run what they like in every process that takes code
from it. So by default it is kept and taken only in a folder that nobody else can write to
(`refusal`); otherwise the user has to say that all who write to the store are trusted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from model.training.compiled_code import MOST_BYTES, platform_of
from tune_app.stores.base import NotStoredError, Sink, Store, StoreError
from tune_app.stores.open import is_folder, open_store

logger = logging.getLogger(__name__)

Sharing: TypeAlias = Literal["auto", "on", "off"]
"""Whether compiled code is shared through the store: `auto` only in a folder of one's own."""

FOLDER = "compiled"
"""In the store. Its objects are `TIME-KEY.zip`, the time in hexadecimal seconds."""
MOST_PACKED = MOST_BYTES // 4
"""Bytes of an object; larger ones are neither kept nor taken. A 10M model has 0.4 to 2 MB."""
MOST_KEPT = 128
"""Objects; the oldest are removed."""


class ShippedCode:
    """A `model.training.compiler.CodeStore` in a store that is trusted. No failure of the store
    becomes one of the trial: it compiles."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def find(self, shape: Mapping[str, Any], *, device: str) -> bytes | None:
        """The newest object of this shape from a machine like this one."""
        key = key_of(shape, device=device)
        try:
            names = [name for name in self._store.names(FOLDER) if _is_of(name, key)]
            if not names:
                return None
            taken = _Bounded(MOST_PACKED)
            self._store.fetch(names[-1], taken)
            return bytes(taken.content)
        except NotStoredError:  # removed in between
            return None
        except (OSError, ValueError) as error:
            logger.warning("compiled code is not taken from %s: %s", self._store.url, error)
            return None

    def keep(self, shape: Mapping[str, Any], code: bytes, *, device: str) -> None:
        """Stores an object, and removes the oldest beyond MOST_KEPT."""
        if len(code) > MOST_PACKED:
            logger.warning(
                "compiled code of %d bytes is not stored; the limit is %d", len(code), MOST_PACKED
            )
            return
        key = key_of(shape, device=device)
        try:
            self._store.write(f"{FOLDER}/{int(self._clock()):010x}-{key}.zip", code)
            for name in self._store.names(FOLDER)[:-MOST_KEPT]:
                self._store.remove(name)
        except StoreError as error:
            logger.warning("compiled code is not stored: %s", error)

    def spoilt(self, shape: Mapping[str, Any], reason: str, *, device: str) -> None:
        """Warns, and removes the objects of this shape."""
        logger.warning(
            "compiled code in %s is damaged (%s); it is compiled anew", self._store.url, reason
        )
        key = key_of(shape, device=device)
        try:
            for name in self._store.names(FOLDER):
                if _is_of(name, key):
                    self._store.remove(name)
        except StoreError as error:
            logger.warning("damaged compiled code is not removed: %s", error)


def shipped_code(url: str, sharing: Sharing) -> ShippedCode | None:
    """Where processes find compiled code; None if it is not shared.

    The store is one of its own: another thread may be uploading a checkpoint through the trial's.
    """
    if sharing == "off" or (sharing == "auto" and (reason := refusal(url))):
        if sharing == "auto":
            logger.info("compiled code is not shared through the store: %s", reason)
        return None
    return ShippedCode(open_store(url))


def refusal(url: str) -> str:
    """Why others may have written to a store; empty if it is a folder that only this user and root
    can change.

    As sshd judges a user's files: the folder and all above it belong to this user or to root, and
    nobody else may write there, but to a folder like /tmp, whose sticky bit protects what is in it.
    """
    if not is_folder(url):
        return "it is not a folder of this machine"
    folder = Path(open_store(url).url).resolve()
    for path in (folder / FOLDER, folder, *folder.parents):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{path}: {error.strerror}"
        if stat.S_ISLNK(found.st_mode):
            return f"{path} is a link"
        if found.st_uid not in (os.getuid(), 0):
            return f"{path} belongs to another user"
        writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        shared = path not in (folder / FOLDER, folder) and found.st_mode & stat.S_ISVTX
        if writable and not shared:
            return f"others can write to {path}"
    return ""


def key_of(shape: Mapping[str, Any], *, device: str) -> str:
    """What names the code of a shape on machines like this one."""
    values = {"shape": shape, "platform": platform_of(device)}
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_of(name: str, key: str) -> bool:
    return name.endswith(f"-{key}.zip")


class _Bounded(Sink):
    """Takes bytes up to a limit."""

    def __init__(self, most: int) -> None:
        self.content = bytearray()
        self._most = most

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Takes all of the data. Raises ValueError beyond the limit."""
        if len(self.content) + len(data) > self._most:
            raise ValueError(f"it is larger than {self._most} bytes")
        self.content += data
        return len(data)
