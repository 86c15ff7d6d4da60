"""Sends prepared corpora to other machines through the checkpoint store.

`tokens/NAME/` holds the files of a prepared corpus in parts, and its manifest, which is written
last: without a manifest the upload is incomplete. The name ends in a hash of the manifest, which
contains the SHA-256 of every file, so a worker trains on exactly the bytes that the driver
prepared. Splitting into parts limits memory on both sides, and what is resent after an error.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from data.cache import built_whole, only_one_builder
from data.errors import DamagedCorpusError
from data.manifest import MANIFEST_FILE, Manifest
from data.prepared import PreparedCorpus
from data.progress import Report, silent
from tune_app.formats import size
from tune_app.stores.base import (
    NotStoredError,
    Store,
    StoreFullError,
    StoreUnreachableError,
    TornError,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

FOLDER = "tokens"
PART_BYTES = 8 * 2**20
"""Do not change: stores already hold parts of this size. Another size needs another FOLDER."""
PATIENCE = 15 * 60.0
"""Seconds to keep retrying one part before giving up."""
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_HASH_IN_NAME = 12


class CancelledError(Exception):
    """The fetch was cancelled."""


@dataclass(frozen=True, kw_only=True)
class SharedCorpus:
    """Identifies a prepared corpus for other machines, in a store or in their own cache."""

    key: str
    """Its name in the cache of `data.prepare`."""
    manifest_sha256: str

    @classmethod
    def of(cls, corpus: PreparedCorpus) -> SharedCorpus:
        """The identity of a prepared corpus on this machine."""
        manifest = (corpus.folder / MANIFEST_FILE).read_bytes()
        return cls(key=corpus.folder.name, manifest_sha256=sha256(manifest).hexdigest())

    @property
    def name(self) -> str:
        return f"{self.key}-{self.manifest_sha256[:_HASH_IN_NAME]}"

    @property
    def folder(self) -> str:
        """Its folder in a store."""
        return f"{FOLDER}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Where workers get the corpora of a sweep from."""

    store: str
    """URL of the store."""
    corpora: Mapping[str, SharedCorpus]
    """By tokenizer key."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of one file of a corpus."""

    file: str
    number: int
    start: int
    bytes: int

    @property
    def name(self) -> str:
        return f"{self.file}.{self.number:05d}"


def parts(manifest: Manifest) -> Iterator[Part]:
    """The parts in which a corpus is sent; an empty file has one."""
    for file, record in sorted(manifest.files.items()):
        for number, start in enumerate(range(0, max(1, record.bytes), PART_BYTES)):
            length = min(PART_BYTES, record.bytes - start)
            yield Part(file=file, number=number, start=start, bytes=length)


def is_shared(shared: SharedCorpus, manifest: Manifest, store: Store) -> bool:
    """Whether a store holds a complete corpus. Raises StoreError if the store fails."""
    try:
        found = sha256(store.read(f"{shared.folder}/{MANIFEST_FILE}")).hexdigest()
    except NotStoredError:
        return False
    wanted = {f"{shared.folder}/{part.name}" for part in parts(manifest)}
    return found == shared.manifest_sha256 and wanted <= set(store.names(shared.folder))


def share(
    corpus: PreparedCorpus,
    store: Store,
    *,
    report: Report = silent,
    patience: float = PATIENCE,
) -> SharedCorpus:
    """Uploads a prepared corpus unless the store has it; holds one part in memory at a time.

    Every part is read back and compared. Parts of an earlier attempt are reused. Raises StoreError.
    """
    shared = SharedCorpus.of(corpus)
    manifest = corpus.manifest
    if patiently(lambda: is_shared(shared, manifest, store), patience=patience):
        return shared
    total = sum(record.bytes for record in manifest.files.values())
    free = store.free_bytes()
    if free is not None and free < total:
        raise StoreFullError(
            f"{store.url} has {size(free)} free, the tokens need {size(total)}; make room there, "
            "or choose another --checkpoints"
        )
    there = set(patiently(lambda: store.names(shared.folder), patience=patience))
    done = 0
    for part in parts(manifest):
        name = f"{shared.folder}/{part.name}"
        content = _read(corpus.folder / part.file, part)
        patiently(partial(_put, name, content, store, there=there), patience=patience)
        done += part.bytes
        report("send the tokens", done, total)
    index = (corpus.folder / MANIFEST_FILE).read_bytes()
    patiently(lambda: store.write(f"{shared.folder}/{MANIFEST_FILE}", index), patience=patience)
    store.remove_leftovers(shared.folder)
    return shared


def local_copy(shared: SharedCorpus, cache: Path) -> PreparedCorpus | None:
    """The corpus in this machine's cache, prepared here or fetched; None if there is none.

    Every file is checked against the manifest.
    """
    for folder in (cache / shared.key, cache / shared.name):
        try:
            manifest = (folder / MANIFEST_FILE).read_bytes()
            if sha256(manifest).hexdigest() != shared.manifest_sha256:
                continue
            corpus = PreparedCorpus.open(folder)
            corpus.manifest.check_contents(folder)
        except (OSError, DamagedCorpusError):
            continue
        return corpus
    return None


def fetch(
    shared: SharedCorpus,
    store: Store,
    cache: Path,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    patience: float = PATIENCE,
) -> PreparedCorpus:
    """The corpus from this machine's cache, downloaded from the store if it is not there.

    One process per machine downloads, the others wait for it. Raises StoreError if the store fails
    or returns other bytes, OSError if the cache cannot be written, and CancelledError.
    """
    if (corpus := local_copy(shared, cache)) is not None:
        return corpus
    folder = cache / shared.name
    with only_one_builder(folder, silent, cancelled=cancelled):
        if cancelled():
            raise CancelledError
        if (corpus := local_copy(shared, cache)) is not None:
            return corpus  # another process fetched it while this one waited

        def read(name: str) -> bytes:
            return patiently(
                lambda: store.read(f"{shared.folder}/{name}"),
                cancelled=cancelled,
                patience=patience,
            )

        started = time.monotonic()
        with built_whole(folder) as partial:
            _fetch_into(partial, shared, store, read)
        corpus = PreparedCorpus.open(folder)
    total = sum(record.bytes for record in corpus.manifest.files.values())
    logger.info("fetched %s of tokens in %.1f s", size(total), time.monotonic() - started)
    return corpus


def _fetch_into(
    folder: Path, shared: SharedCorpus, store: Store, read: Callable[[str], bytes]
) -> None:
    index = read(MANIFEST_FILE)
    if sha256(index).hexdigest() != shared.manifest_sha256:
        raise TornError(
            f"{store.url} returned another {shared.folder}/{MANIFEST_FILE} than was sent"
        )
    (folder / MANIFEST_FILE).write_bytes(index)
    manifest = Manifest.read(folder)
    for part in parts(manifest):
        content = read(part.name)
        if len(content) != part.bytes:
            raise _torn(f"{part.name} has {len(content):,} bytes", shared, store)
        with (folder / part.file).open("ab") as file:
            file.write(content)
    try:
        manifest.check_contents(folder)
    except DamagedCorpusError as error:
        raise _torn(error.reason, shared, store) from error


def patiently(
    call: Callable[[], T],
    *,
    cancelled: Callable[[], bool] = lambda: False,
    patience: float = PATIENCE,
) -> T:
    """Calls a store, and retries while it does not answer.

    The pauses grow and are randomised, so that many workers do not retry at the same moment.
    Raises the last StoreUnreachableError after `patience` seconds, and CancelledError.
    """
    deadline = time.monotonic() + patience
    pause = _FIRST_PAUSE
    while True:
        if cancelled():
            raise CancelledError
        try:
            return call()
        except StoreUnreachableError as error:
            if time.monotonic() + pause > deadline:
                raise
            level = logging.WARNING if pause == _FIRST_PAUSE else logging.INFO
            logger.log(level, "waiting for the tokens: %s", error)
        until = time.monotonic() + random.uniform(pause / 2, pause)
        while (left := until - time.monotonic()) > 0 and not cancelled():
            time.sleep(min(left, 0.1))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _put(name: str, content: bytes, store: Store, *, there: set[str]) -> None:
    if name in there and store.read(name) == content:
        return
    store.write(name, content)
    if store.read(name) != content:
        store.remove(name)
        raise TornError(
            f"{store.url} did not store {name} correctly; check its disk, or use another store"
        )


def _read(path: Path, part: Part) -> bytes:
    with path.open("rb") as file:
        file.seek(part.start)
        content = file.read(part.bytes)
    if len(content) != part.bytes:
        raise DamagedCorpusError(f"{path} was truncated while it was being sent")
    return content


def _torn(what: str, shared: SharedCorpus, store: Store) -> TornError:
    return TornError(
        f"{store.url} returned other tokens than were sent ({what}); remove {shared.folder} "
        "there, and start the sweep again"
    )
