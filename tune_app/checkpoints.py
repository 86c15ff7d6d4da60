"""Where a trial's state lives: written to a temporary name, verified, then made current.

A checkpoint is two files: `TOKENS.pt` and, written last, `TOKENS.json` with its size and SHA-256.
Only one whose manifest fits its bytes is ever loaded, and nothing in it is unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)

MAXIMUM_INTERVAL = 15 * 60.0
"""Seconds of work that a lost host may cost at the most."""

_SHARE_OF_TIME = 0.02


def is_due(seconds_since_last: float, cost: float) -> bool:
    """Whether to write a checkpoint now: as often as costs 2 % of the time, or every 15 minutes.

    Args:
        seconds_since_last: training time that would be lost now.
        cost: seconds that the last checkpoint took; 0 when none was taken yet.
    """
    return seconds_since_last >= min(max(1.0, cost / _SHARE_OF_TIME), MAXIMUM_INTERVAL)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A state that was read back whole."""

    tokens: int
    state: Mapping[str, Any]


class CheckpointFolder:
    """The checkpoints of one cell in a local folder; the newest few are kept."""

    def __init__(self, folder: Path, *, cell: str, keep: int = 2) -> None:
        assert keep >= 1
        self._folder = folder
        self._cell = cell
        self._keep = keep

    def save(self, state: Mapping[str, Any], *, tokens: int) -> None:
        """Writes a checkpoint; when it returns, the checkpoint survives a crash.

        The newest ones before it are kept. One that claims more tokens is removed: the trial did
        not resume from it, so it was damaged. Raises OSError where nothing can be written; the
        ones before it stay as they were.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        # By way of memory: torch reports a full disk as a RuntimeError, a file as an OSError.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getbuffer()
        data = self._folder / f"{tokens}.pt"
        # A second one at these tokens: never its content with the manifest of the first.
        data.with_suffix(".json").unlink(missing_ok=True)
        _write(data, content)
        manifest = {
            "cell": self._cell,
            "tokens": tokens,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        _write(data.with_suffix(".json"), json.dumps(manifest).encode())
        self._prune(tokens)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies; damaged ones are passed over with a warning."""
        for tokens in self._saved():
            data = self._folder / f"{tokens}.pt"
            try:
                manifest = json.loads(data.with_suffix(".json").read_text("utf-8"))
                whole = (
                    manifest["cell"] == self._cell
                    and manifest["tokens"] == tokens
                    and data.stat().st_size == manifest["bytes"]
                    and _sha256(data) == manifest["sha256"]
                )
                if whole:
                    state = torch.load(data, map_location="cpu", weights_only=True)
                    return Checkpoint(tokens=tokens, state=state)
                reason = "its manifest is of other bytes or of another cell"
            except (OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
                reason = str(error) or type(error).__name__
            logger.warning("the checkpoint %s is damaged (%s); trying the one before", data, reason)
        return None

    def _saved(self) -> list[int]:
        """Tokens of the checkpoints with a manifest, the newest first."""
        names = (path.stem for path in self._folder.glob("*.json"))
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _prune(self, newest: int) -> None:
        saved = self._saved()
        kept = [tokens for tokens in saved if tokens <= newest][: self._keep]
        for tokens in saved:
            if tokens in kept:
                continue
            # The manifest goes first: half a removal leaves no checkpoint that looks whole.
            (self._folder / f"{tokens}.json").unlink(missing_ok=True)
            (self._folder / f"{tokens}.pt").unlink(missing_ok=True)
        for leftover in self._folder.glob("*.tmp"):
            leftover.unlink(missing_ok=True)


def _write(path: Path, content: bytes | memoryview) -> None:
    """Whole or not at all, and on the disk when it returns."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
