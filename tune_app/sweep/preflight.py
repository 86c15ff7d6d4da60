"""What a sweep needs from disks and stores, and how often it has lost a host so far."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from data.display import progress_display
from data.prepared import PreparedCorpus
from tune_app.cluster.corpus_share import SharedCorpus, Tokens, is_shared, share
from tune_app.faults.policy import is_early
from tune_app.formats import size
from tune_app.journal.disk import require_free
from tune_app.journal.journal import Journal
from tune_app.journal.records import CellRecord, FailureClass
from tune_app.plan.cell import Cell
from tune_app.plan.more_tokens import can_be_extended
from tune_app.stopping.curves import by_cell
from tune_app.stores.base import Store, StoreError, StoreFullError, StoreRefusedError
from tune_app.stores.open import below, from_folder, is_folder, open_store
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoint_interval import ASSUMED_BETWEEN_LOSSES
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.tokenizer_files import keep_tokenizer

logger = logging.getLogger(__name__)

RECORDS_BYTES = 100 * 2**20
"""Space for a sweep's journal, tables, plots and report."""
_BYTES_PER_PARAMETER = 12
"""In a checkpoint: the weight and Adam's two moments, in fp32."""


def check_storage(
    url: str,
    folder: Path,
    cells: Sequence[CellRecord],
    *,
    cells_at_once: int,
    dry: bool = False,
) -> None:
    """Tests the checkpoint store, and checks free space there and for the sweep's own records.

    dry: only look at a store in a folder of this machine; do not create it.

    Raises ValueError if this machine has too little space, StoreError if the store refuses, does
    not answer or is too full: all before anything is trained.
    """
    store = open_store(url)
    try:
        if dry and is_folder(url):
            _require_writable(store)
        else:
            store.check()
        needed = checkpoint_bytes(cells, cells_at_once=cells_at_once)
        free = store.free_bytes()
        if free is not None and free < needed:
            full = (
                f"{store.url} has {size(free)} free, the checkpoints need {size(needed)}; "
                "make room there, or choose another --checkpoints"
            )
            if not any(cell.attempts for cell in cells):
                raise StoreFullError(full)
            # When a sweep continues, part of this is already stored.
            logger.warning(full)
    finally:
        store.close()
    require_free(folder, RECORDS_BYTES, "the sweep's records")


def _require_writable(store: Store) -> None:
    """Raises StoreRefusedError if the store's folder cannot be created or written to."""
    there = Path(store.url)
    while not there.exists():
        there = there.parent
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise StoreRefusedError(
            f"{there} is no folder that this user can write to; choose another --checkpoints"
        )


def share_tokens(url: str, corpora: Mapping[str, PreparedCorpus], console: Console) -> Tokens:
    """Uploads the corpora of a sweep for its workers, and says what it sends.

    Args:
        corpora: by tokenizer key.

    Raises StoreError if the upload fails.
    """
    store = open_store(url)
    shared: dict[str, SharedCorpus] = {}
    try:
        store.check()
        for key, corpus in corpora.items():
            shared[key] = SharedCorpus.of(corpus)
            if is_shared(shared[key], corpus.manifest, store):
                continue
            total = sum(record.bytes for record in corpus.manifest.files.values())
            console.print(
                f"sending {size(total)} of tokens to {store.url}, once for all workers",
                style="dim",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            with progress_display(console) as report:
                share(corpus, store, report=report)
    finally:
        store.close()
    return Tokens(store=url, corpora=shared)


def keep_tokenizers(folder: Path, url: str, corpora: Iterable[PreparedCorpus]) -> None:
    """Writes the tokenizers of a sweep into its folder, and into a store that is elsewhere.

    A model can then be loaded with its tokenizer from either (`tune_app.trial.trained`), long after
    the cache of corpora is gone. Raises StoreError.
    """
    places: list[Store] = [PathStore(folder)]
    store = open_store(url)
    if not isinstance(store, PathStore) or not Path(store.url).is_relative_to(folder.absolute()):
        places.append(store)
    try:
        for corpus in corpora:
            for place in places:
                keep_tokenizer(corpus, place)
    finally:
        store.close()


def tidy_up(url: str, journal: Journal, folder: Path) -> None:
    """Removes half-written files of killed processes, once the sweep has no process left, and
    records the newest checkpoint of each cell as the store has it.

    Complete checkpoints are not removed: a finished cell keeps its last and its best.
    """
    store = open_store(url)
    known = journal.checkpoints()
    try:
        for cell in journal.cells():
            if not cell.attempts:
                continue
            for key in filter(None, (cell.key, cell.former_key)):
                store.remove_leftovers(key, older_than=0.0)
            name = Checkpoints(store, cell=cell.key, former_key=cell.former_key).newest_name()
            kept = None if name is None else from_folder(below(url, name), folder)
            if kept != known.get(cell.key):
                journal.keep(cell.key, kept)
    except StoreError as error:
        logger.warning("could not look through the checkpoints in %s: %s", store.url, error)
    finally:
        store.close()


def checkpoint_bytes(cells: Sequence[CellRecord], *, cells_at_once: int) -> int:
    """Space for the checkpoints still to come: the last and the best of each cell, the one that
    more tokens could go on from, and two more for each cell in training."""
    left = [cell for cell in cells if not cell.status.ended and cell.parameters is not None]
    size_of = {
        cell.key: _BYTES_PER_PARAMETER * cell.parameters["total"]
        for cell in left
        if cell.parameters is not None
    }
    kept = sum(
        (3 if can_be_extended(Cell.from_values(cell.values)) else 2) * size_of[cell.key]
        for cell in left
    )
    return int(kept + 2 * sum(sorted(size_of.values())[-cells_at_once:]))


def seconds_between_losses(journal: Journal) -> float:
    """Mean seconds that a trial runs between losses of its host, as seen in this sweep so far.

    Attempts that failed before their first step do not count: a checkpoint would have saved
    nothing.
    """
    losses = sum(
        failure.kind in (FailureClass.HOST, FailureClass.NETWORK) and not is_early(failure)
        for failure in journal.failures()
    )
    if losses == 0:
        return ASSUMED_BETWEEN_LOSSES
    curves = by_cell(journal.observations())
    return sum(sum(curve[-1].seconds.values()) for curve in curves.values()) / losses
