"""A trial's states in a store: written, verified, then made current; the newest whole one wins.

A checkpoint is two contents: `CELL/TOKENS-HASH.pt` and, written after the first was read back and
compared, `CELL/TOKENS-HASH.json` with its size and SHA-256. Writing the manifest is the switch: a
checkpoint without one was cut off. Only bytes that fit their manifest are ever loaded, and nothing
in them is unpickled. The hash in the name keeps two processes apart that write the same cell, when
a host that was taken for lost wakes up again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from tune_app.stores.base import NotStoredError, Store, StoreError, TornError
from tune_app.trial.former_states import in_todays_words

logger = logging.getLogger(__name__)

_HASH_IN_NAME = 12


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is known of a checkpoint without loading it."""

    cell: str
    tokens: int
    bytes: int
    sha256: str
    bits_per_byte: float | None = None
    """Of the newest evaluation when it was taken."""

    @property
    def stem(self) -> str:
        return f"{self.cell}/{self.tokens}-{self.sha256[:_HASH_IN_NAME]}"


@dataclass(frozen=True, kw_only=True)
class Restored:
    """The state to go on from, and what had to be passed over on the way to it."""

    tokens: int = 0
    state: Mapping[str, Any] | None = None
    """None where there is no whole checkpoint."""
    damaged: tuple[str, ...] = field(default=())
    """A sentence for each newer checkpoint that could not be used."""


class Checkpoints:
    """The checkpoints of one cell.

    Args:
        store: where they live.
        cell: key of the cell.
        former_key: the key that an older version of the program gave the cell; what lies under it
            is read, and left as it is.
        keep: how many of the newest are kept; the best by dev bits per byte is kept beside them.
    """

    def __init__(
        self, store: Store, *, cell: str, former_key: str | None = None, keep: int = 2
    ) -> None:
        assert keep >= 1
        self._store = store
        self._cell = cell
        self._former_key = former_key
        self._keep = keep
        self._seen_damaged: set[str] = set()

    def save(
        self,
        state: Mapping[str, Any],
        *,
        tokens: int,
        bits_per_byte: float | None = None,
        last: bool = False,
    ) -> None:
        """Writes a checkpoint; when it returns, the checkpoint survives a crash.

        After the last one of a cell only it and the best are kept. One of more tokens is removed
        only where `newest` found it damaged. Raises StoreError where nothing can be written,
        TornError where something else came back; the ones before it stay as they were.
        """
        # By way of memory: torch reports a full disk as a RuntimeError, a store as a StoreError.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getbuffer()
        manifest = Manifest(
            cell=self._cell,
            tokens=tokens,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            bits_per_byte=bits_per_byte,
        )
        self._store.write(f"{manifest.stem}.pt", content)
        if (reason := _mismatch(manifest, self._store.read(f"{manifest.stem}.pt"))) is not None:
            self._store.remove(f"{manifest.stem}.pt")
            raise TornError(f"{self._store.url} did not keep {manifest.stem}.pt: {reason}")
        self._store.write(f"{manifest.stem}.json", json.dumps(asdict(manifest)).encode())
        self._prune(manifest, keep=1 if last else self._keep)

    def newest(self) -> Restored:
        """The newest checkpoint that verifies; damaged ones are passed over with a warning.

        Where nothing whole lies under the cell's key, its former one is looked at.

        Raises StoreError where the store cannot be asked: that says nothing about what it holds.
        One that cannot be read counts as damaged only where an older one can be.
        """
        restored = self._newest_of(self._cell)
        if restored.state is not None or self._former_key is None:
            return restored
        former = self._newest_of(self._former_key)
        return replace(former, damaged=(*restored.damaged, *former.damaged))

    def _newest_of(self, cell: str) -> Restored:
        damaged: list[str] = []
        unread: StoreError | None = None
        for name in self._manifests(cell):
            try:
                state, tokens = self._load(name, cell)
            except StoreError as error:
                unread = unread or error
                damaged.append(f"the checkpoint {name} cannot be read ({error})")
                continue
            except (ValueError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                damaged.append(f"the checkpoint {name} is damaged ({reason})")
                self._seen_damaged.add(name)
                continue
            self._warn(damaged, f"the one at {tokens:,} tokens is used")
            return Restored(tokens=tokens, state=state, damaged=tuple(damaged))
        if unread is not None:
            raise unread
        self._warn(damaged, "none before it is whole, so the cell starts again")
        return Restored(damaged=tuple(damaged))

    def _load(self, name: str, cell: str) -> tuple[Mapping[str, Any], int]:
        """The state of a manifest's name. Raises ValueError and its like where it is damaged."""
        try:
            manifest = Manifest(**json.loads(self._store.read(f"{name}.json")))
            if f"{cell}/{manifest.tokens}-{manifest.sha256[:_HASH_IN_NAME]}" != name:
                raise ValueError("its manifest is of another checkpoint")
            if manifest.cell != cell:
                raise ValueError(f"it is of the cell {manifest.cell}")
            content = self._store.read(f"{name}.pt")
        except NotStoredError as error:
            raise ValueError("half of it is missing") from error
        if (reason := _mismatch(manifest, content)) is not None:
            raise ValueError(reason)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return in_todays_words(state, cell=self._cell), manifest.tokens

    def _warn(self, damaged: list[str], consequence: str) -> None:
        if damaged:
            logger.warning("%s; %s", "; ".join(damaged), consequence)

    def _manifests(self, cell: str) -> list[str]:
        """Names, without their ending, of what has a manifest: the newest first."""
        stems = [
            name.removesuffix(".json") for name in self._store.names(cell) if name.endswith(".json")
        ]
        return sorted((stem for stem in stems if _tokens(stem) is not None), key=_order)[::-1]

    def _prune(self, newest: Manifest, *, keep: int) -> None:
        """Keeps the newest few and the best; a failure to remove loses nothing but room."""
        try:
            manifests = self._manifests(self._cell)
            mine = [
                name
                for name in manifests
                if _order(name) <= _order(newest.stem) and name not in self._seen_damaged
            ]
            kept = {newest.stem, *mine[:keep], *self._best(mine)}
            for name in self._store.names(self._cell):
                stem, _, ending = name.rpartition(".")
                if stem in kept or _tokens(stem) is None:
                    continue
                ahead = (_tokens(stem) or 0) > newest.tokens
                if ahead and stem not in self._seen_damaged:
                    # Of another process that got further, or still being written.
                    continue
                if stem in manifests:
                    # The manifest goes first: half a removal leaves nothing that looks whole.
                    self._store.remove(f"{stem}.json")
                    self._store.remove(f"{stem}.pt")
                elif ending == "pt":
                    # Cut off before its manifest.
                    self._store.remove(name)
            self._store.remove_leftovers(self._cell)
        except StoreError as error:
            logger.warning("old checkpoints of %s could not be removed: %s", self._cell, error)

    def _best(self, names: list[str]) -> list[str]:
        """Of those names the one with the least dev bits per byte, or none."""
        scores: dict[str, float] = {}
        for name in names:
            try:
                score = Manifest(**json.loads(self._store.read(f"{name}.json"))).bits_per_byte
            except (NotStoredError, ValueError, TypeError):
                continue
            if score is not None and math.isfinite(score):
                scores[name] = score
        return [min(scores, key=lambda name: scores[name])] if scores else []


def _mismatch(manifest: Manifest, content: bytes) -> str | None:
    """In what a content differs from its manifest, or None."""
    if len(content) != manifest.bytes:
        return f"it has {len(content):,} bytes instead of {manifest.bytes:,}"
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        return "its SHA-256 is another"
    return None


def _tokens(stem: str) -> int | None:
    text = stem.rpartition("/")[2].partition("-")[0]
    return int(text) if text.isdecimal() else None


def _order(stem: str) -> tuple[int, str]:
    tokens = _tokens(stem)
    assert tokens is not None
    return tokens, stem
