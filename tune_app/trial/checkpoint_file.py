"""The file of a checkpoint as a stream: written, measured and read without a copy in memory."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from tune_app.stores.base import Data, Sink

_HASH_IN_NAME = 12
_PIECE = 2**20

UNREADABLE = (ValueError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError)
"""What reading a damaged checkpoint may raise."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What to know about a checkpoint without loading it."""

    cell: str
    tokens: int
    bytes: int
    sha256: str
    bits_per_byte: float | None = None
    """At the last evaluation before it was taken."""

    @property
    def stem(self) -> str:
        return f"{self.cell}/{self.tokens}-{self.sha256[:_HASH_IN_NAME]}"

    @property
    def name(self) -> str:
        """Of the state in the store."""
        return f"{self.stem}.pt"


class Digest:
    """A sink that keeps only the length and the SHA-256 of its stream."""

    def __init__(self) -> None:
        self.bytes = 0
        self._hash = hashlib.sha256()

    @classmethod
    def of(cls, file: BinaryIO) -> Digest:
        """Of a whole file, which is then at its start again. Raises OSError."""
        digest = cls()
        while piece := file.read(_PIECE):
            digest.write(piece)
        file.seek(0)
        return digest

    def write(self, data: Data, /) -> int:
        """Takes all of the data and returns its length."""
        view = memoryview(data).cast("B")
        self.bytes += len(view)
        self._hash.update(view)
        return len(view)

    @property
    def sha256(self) -> str:
        """Of the stream so far, in hexadecimal."""
        return self._hash.hexdigest()


class _Watched:
    """A sink that remembers its own error, of which torch makes a RuntimeError without a cause."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.error: Exception | None = None

    def write(self, data: Data, /) -> int:
        try:
            return self._sink.write(data)
        except Exception as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        """Does nothing: the sink decides when it passes on what it has."""


def write_state(state: Mapping[str, Any], sink: Sink) -> None:
    """Writes the file of a state, one tensor after another; equal states give equal files.

    Raises what the sink raises.
    """
    watched = _Watched(sink)
    try:
        file: Any = watched
        torch.save(dict(state), file)
    except Exception as error:
        if watched.error is not None and watched.error is not error:
            raise watched.error from error
        raise


def unpacked(file: BinaryIO) -> Any:
    """The state in a checkpoint's file; code in it is not run. Raises one of UNREADABLE."""
    return torch.load(file, map_location="cpu", weights_only=True)


def mismatch(manifest: Manifest, found: Digest) -> str | None:
    """How what was found differs from its manifest, or None."""
    if found.bytes != manifest.bytes:
        return f"it has {found.bytes:,} bytes instead of {manifest.bytes:,}"
    if found.sha256 != manifest.sha256:
        return "its SHA-256 does not match"
    return None
