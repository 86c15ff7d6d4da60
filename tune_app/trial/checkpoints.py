"""A trial's checkpoints in a store: written, verified, then made current.

A checkpoint is two files: the state, `CELL/TOKENS-HASH.pt`, and, once that was read back and
compared, its manifest, `CELL/TOKENS-HASH.json`, with size and SHA-256. Writing the manifest makes
the checkpoint current; one without a manifest was interrupted. Only bytes that match their manifest
are ever loaded, and no code in them is unpickled. The hash in the name keeps apart two processes
that write the same cell, when a host that was thought lost wakes up again.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tune_app.journal.reached import tokens_of
from tune_app.stores.base import (
    NotStoredError,
    Store,
    StoreError,
    StoreRefusedError,
    TornError,
)
from tune_app.trial.checkpoint_file import (
    UNREADABLE,
    Digest,
    Manifest,
    mismatch,
    unpacked,
    write_state,
)
from tune_app.trial.former_states import NewerStateError, in_todays_form

logger = logging.getLogger(__name__)

_KEPT = 2
"""Newest checkpoints that are kept while a cell trains: one may turn out to be damaged."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """The state to resume from, and the newer checkpoints that were skipped."""

    tokens: int = 0
    name: str = ""
    """Of the checkpoint in the store."""
    state: Mapping[str, Any] | None = None
    """None if there is no intact checkpoint."""
    damaged: tuple[str, ...] = field(default=())
    """A sentence for each newer checkpoint that could not be used."""


@dataclass(frozen=True, kw_only=True)
class Superseding:
    """A checkpoint that was saved, and what stays beside it."""

    newest: str
    """Its name in the store, as `save` returned it."""
    keep: int
    """How many of the newest stay, it included."""
    kept_at: int | None = None
    """Tokens of one that stays, however many newer ones there are."""
    damaged: tuple[str, ...] = ()
    """Those that were found damaged, without extension; they do not count."""

    @property
    def json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Superseding:
        """The inverse of `json`."""
        values = json.loads(text)
        return cls(**{**values, "damaged": tuple(values["damaged"])})


class Checkpoints:
    """The checkpoints of one cell.

    Args:
        store: where they are kept.
        cell: key of the cell.
        former_key: the cell's key in an older version; checkpoints under it are only read.
        keep: how many of the newest are kept; None for two, and for one after the last.
        keep_best: how many of the best by dev bits per byte are kept as well.

    Raises ValueError if `keep` is below 1 or `keep_best` below 0.
    """

    def __init__(
        self,
        store: Store,
        *,
        cell: str,
        former_key: str | None = None,
        keep: int | None = None,
        keep_best: int = 1,
    ) -> None:
        if keep is not None and keep < 1:
            raise ValueError(
                f"{keep} checkpoints are to be kept; it must be at least 1: a cell continues from "
                "its newest checkpoint"
            )
        if keep_best < 0:
            raise ValueError(f"the {keep_best} best are to be kept; it must be 0 or more")
        self._store = store
        self._cell = cell
        self._former_key = former_key
        self._keep = keep
        self._keep_best = keep_best
        self._seen_damaged: set[str] = set()
        self._kept_at: int | None = None
        self._unpruned: Superseding | None = None

    def never_remove(self, tokens: int) -> None:
        """From now on a checkpoint at so many tokens is kept, however many newer ones there are."""
        self._kept_at = tokens

    @property
    def unpruned(self) -> Superseding | None:
        """What somebody else has to remove, as the store lets this user remove nothing. None if
        all that the last save superseded is gone."""
        return self._unpruned

    def save(
        self,
        state: Mapping[str, Any],
        *,
        tokens: int,
        bits_per_byte: float | None = None,
        last: bool = False,
    ) -> str:
        """Writes a checkpoint and returns its name; from then on it survives a crash.

        After a cell's last checkpoint only that and the best are kept, unless a number was given.
        One with more tokens is removed only if `newest` found it damaged. Raises StoreError if it
        cannot be written, and TornError if other bytes are read back; earlier checkpoints stay as
        they were.
        """
        # Twice through a sink: the name needs the hash, and no copy of the state is in memory.
        measured = Digest()
        write_state(state, measured)
        manifest = Manifest(
            cell=self._cell,
            tokens=tokens,
            bytes=measured.bytes,
            sha256=measured.sha256,
            bits_per_byte=bits_per_byte,
        )
        with self._store.writing(f"{manifest.stem}.pt") as sink:
            write_state(state, sink)
        kept = Digest()
        self._store.fetch(f"{manifest.stem}.pt", kept)
        if (reason := mismatch(manifest, kept)) is not None:
            with suppress(StoreRefusedError):  # where objects can only be added
                self._store.remove(f"{manifest.stem}.pt")
            raise TornError(f"{self._store.url} did not keep {manifest.stem}.pt: {reason}")
        self._store.write(f"{manifest.stem}.json", json.dumps(asdict(manifest)).encode())
        self.prune(
            Superseding(
                newest=manifest.name,
                keep=self._keep or (1 if last else _KEPT),
                kept_at=self._kept_at,
                damaged=tuple(sorted(self._seen_damaged)),
            )
        )
        return manifest.name

    def newest_name(self, *, at_most: float = math.inf) -> str | None:
        """The name of the newest complete checkpoint, without reading it; None if there is none.

        at_most: tokens; one with more does not count.

        Raises StoreError.
        """
        for cell in filter(None, (self._cell, self._former_key)):
            if manifests := self._manifests(cell, at_most=at_most):
                return f"{manifests[0]}.pt"
        return None

    def newest(self, *, at_most: float = math.inf) -> Restored:
        """The newest intact checkpoint; damaged ones are skipped with a warning.

        at_most: tokens; one with more does not count.

        If there is none under the cell's key, those under its former key are tried.

        Raises StoreError if the store does not answer: that says nothing about its contents. Raises
        NewerStateError for one of a newer version.
        A checkpoint that cannot be read counts as damaged only if an older one can be read.
        """
        restored = self._newest_of(self._cell, at_most=at_most)
        if restored.state is not None or self._former_key is None:
            return restored
        former = self._newest_of(self._former_key, at_most=at_most)
        return replace(former, damaged=(*restored.damaged, *former.damaged))

    def _newest_of(self, cell: str, *, at_most: float) -> Restored:
        damaged: list[str] = []
        unread: StoreError | None = None
        for name in self._manifests(cell, at_most=at_most):
            try:
                state, tokens = self._load(name, cell)
            except StoreError as error:
                unread = unread or error
                damaged.append(f"the checkpoint {name} cannot be read ({error})")
                continue
            except NewerStateError:
                raise
            except UNREADABLE as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                damaged.append(f"the checkpoint {name} is damaged ({reason})")
                self._seen_damaged.add(name)
                continue
            self._warn(damaged, f"the one at {tokens:,} tokens is used")
            return Restored(tokens=tokens, name=f"{name}.pt", state=state, damaged=tuple(damaged))
        if unread is not None:
            raise unread
        self._warn(damaged, "no older one is intact, so the cell starts again")
        return Restored(damaged=tuple(damaged))

    def _load(self, name: str, cell: str) -> tuple[Mapping[str, Any], int]:
        """State and tokens of a checkpoint. Raises ValueError or the like if it is damaged."""
        try:
            manifest = Manifest(**json.loads(self._store.read(f"{name}.json")))
            if replace(manifest, cell=cell).stem != name:
                raise ValueError("its manifest belongs to another checkpoint")
            if manifest.cell != cell:
                raise ValueError(f"it belongs to the cell {manifest.cell}")
            with self._store.reading(f"{name}.pt") as file:
                if (reason := mismatch(manifest, Digest.of(file))) is not None:
                    raise ValueError(reason)
                state = unpacked(file)
        except NotStoredError as error:
            raise ValueError("half of it is missing") from error
        return in_todays_form(state, cell=self._cell), manifest.tokens

    def _warn(self, damaged: list[str], consequence: str) -> None:
        if damaged:
            logger.warning("%s; %s", "; ".join(damaged), consequence)

    def _manifests(self, cell: str, *, at_most: float = math.inf) -> list[str]:
        """Names of the checkpoints with a manifest, without extension, the newest first."""
        stems = [
            name.removesuffix(".json") for name in self._store.names(cell) if name.endswith(".json")
        ]
        known = [stem for stem in stems if (at := tokens_of(stem)) is not None and at <= at_most]
        return sorted(known, key=_order)[::-1]

    def prune(self, after: Superseding) -> None:
        """Keeps the newest few and the best; a failed removal only wastes space.

        Removes nothing unless the newest is there.
        """
        newest = after.newest.removesuffix(".pt")
        self._unpruned = None
        try:
            # First: what is removed below may still have its half-written name.
            self._store.remove_leftovers(self._cell)
            manifests = self._manifests(self._cell)
            if newest not in manifests:
                logger.warning("%s is gone, so no older checkpoint is removed", after.newest)
                return
            mine = [
                name
                for name in manifests
                if _order(name) <= _order(newest) and name not in after.damaged
            ]
            kept = {newest, *mine[: after.keep], *self._best(mine)}
            kept |= {name for name in mine if tokens_of(name) == after.kept_at}
            for name in self._store.names(self._cell):
                stem, _, ending = name.rpartition(".")
                if stem in kept or tokens_of(stem) is None:
                    continue
                ahead = (tokens_of(stem) or 0) > (tokens_of(newest) or 0)
                if ahead and stem not in after.damaged:
                    # Another process got further, or is still writing it.
                    continue
                if stem in manifests:
                    # Manifest first: an interrupted removal leaves nothing that looks intact.
                    self._store.remove(f"{stem}.json")
                    self._store.remove(f"{stem}.pt")
                elif ending == "pt":
                    # Interrupted before its manifest was written.
                    self._store.remove(name)
        except StoreRefusedError as error:
            self._unpruned = after
            logger.info("old checkpoints of %s are left to others: %s", self._cell, error)
        except StoreError as error:
            logger.warning("old checkpoints of %s could not be removed: %s", self._cell, error)

    def _best(self, names: list[str]) -> list[str]:
        """The names with the lowest dev bits per byte, as many as are to be kept."""
        if not self._keep_best:
            return []
        scores: dict[str, float] = {}
        for name in names:
            try:
                score = Manifest(**json.loads(self._store.read(f"{name}.json"))).bits_per_byte
            except (NotStoredError, ValueError, TypeError):
                continue
            if score is not None and math.isfinite(score):
                scores[name] = score
        return sorted(scores, key=scores.__getitem__)[: self._keep_best]


def _order(stem: str) -> tuple[int, str]:
    tokens = tokens_of(stem)
    assert tokens is not None
    return tokens, stem
