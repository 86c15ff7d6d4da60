"""From where cells go on that another sweep has trained on fewer tokens.

Of each such cell a checkpoint from before the cool-down is brought into the store of the new sweep,
as the state that the longer cell would have had there. From then on the sweep is like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from data.prepared import PreparedCorpus
from tune_app.formats import count, counted
from tune_app.journal.adoption import adopted_beginning
from tune_app.journal.journal import Journal
from tune_app.journal.reached import tokens_of
from tune_app.journal.records import CellRecord
from tune_app.plan.cell import Cell
from tune_app.plan.rows import PlannedCell
from tune_app.stores.base import StoreError
from tune_app.stores.open import below, from_folder, open_store, store_and_name
from tune_app.sweep.asked import Asked
from tune_app.sweep.corpora import prepared_corpora
from tune_app.sweep.extended import ExtendedSweep, extended_sweep
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.inheritance import Beginning, Inheritance
from tune_app.sweep.listing import open_named
from tune_app.terminal.facts import Fact
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.data import TrialData
from tune_app.trial.longer import longer_state

logger = logging.getLogger(__name__)


def more_tokens(name: str, tokens: int, *, results: Path, console: Console) -> Asked:
    """The sweep on more tokens of a finished one, with what it takes over from that.

    Looks for the checkpoint from which each cell goes on; a cell without one starts anew.

    Args:
        name: of the finished sweep.
        tokens: baseline tokens to train each cell on, those it has included.
        results: folder that holds it.
        console: shows the progress if its corpus has to be prepared again.

    Raises ValueError if there is no such sweep, if it cannot be extended, or if no cell has a
    checkpoint to go on from; StoreError if their store does not answer.
    """
    folder = results / name
    with open_named(name, results) as journal:
        sweep = journal.sweep()
        extended = extended_sweep(sweep, journal.cells(), tokens=tokens)
    corpora = prepared_corpora(extended.plan, console)
    if any(one.manifest.corpus_sha256 != sweep.corpus_sha256 for one in corpora.values()):
        raise ValueError(
            f"the corpus {sweep.corpus} has other text now than when the sweep {name!r} was "
            f"trained, so that its cells cannot go on; restore it"
        )
    exists = (results / extended.plan.name / JOURNAL).exists()
    begun: list[Beginning] = []
    again: list[CellRecord] = []
    adopted = []
    with open_named(name, results) as journal:
        urls = journal.checkpoints()
        for shorter, longer in zip(extended.shorter, extended.plan.cells, strict=True):
            url = urls.get(shorter.key)
            beginning = (
                None if url is None else _beginning(shorter, longer, _whole(url, folder), corpora)
            )
            if beginning is None:
                again.append(shorter)
                continue
            begun.append(beginning)
            adopted.append(
                adopted_beginning(journal, shorter.key, as_key=longer.key, until=beginning.tokens)
            )
    if not begun and not exists:
        raise ValueError(
            f"no cell of {sweep.name} has a checkpoint from before its cool-down any more, so "
            f"nothing could be adopted; train the sweep anew with --tokens {extended.plan.tokens} "
            f"and --name {extended.plan.name}"
        )
    origin = {
        "extends": sweep.name,
        "tokens": sweep.tokens,
        "begun_at": sweep.created_at,
        "cells": {one.key: {"cell": one.shorter, "tokens": one.tokens} for one in begun},
        "from_the_start": [cell.label for cell in again],
        "left": [cell.label for cell in extended.left],
    }
    return Asked(
        plan=extended.plan,
        rules=extended.rules,
        inheritance=Inheritance(origin=origin, cells=tuple(adopted), beginnings=tuple(begun)),
        facts=() if exists else tuple(_facts(extended, sweep.name, begun, again)),
    )


def bring(
    beginnings: Sequence[Beginning],
    url: str,
    journal: Journal,
    folder: Path,
    *,
    corpora: Mapping[str, PreparedCorpus],
    console: Console,
) -> None:
    """Brings the checkpoints of cells that have none into the store of their sweep.

    One that cannot be read any more is warned of: its cell then starts anew.

    Args:
        url: of the sweep's store.
        folder: of the sweep.

    Raises StoreError if the sweep's store does not take them.
    """
    waiting = {cell.key: cell for cell in journal.cells() if not cell.status.ended}
    known = journal.checkpoints()
    wanted = [one for one in beginnings if one.key in waiting and one.key not in known]
    if not wanted:
        return
    what = counted(len(wanted), "checkpoint")
    console.print(Text(f"bringing {what} from the shorter sweep", style="dim"))
    with closing(open_store(url)) as store:
        for one in wanted:
            own = Checkpoints(store, cell=one.key)
            name = own.newest_name()
            if name is None and (state := _state(one, waiting[one.key], corpora)) is not None:
                score = (state["observation"] or {}).get("metrics", {}).get("bits_per_byte")
                name = own.save(state, tokens=one.tokens, bits_per_byte=score)
            if name is not None:
                journal.keep(one.key, from_folder(below(url, name), folder))


def _beginning(
    shorter: CellRecord,
    longer: PlannedCell,
    url: str,
    corpora: Mapping[str, PreparedCorpus],
) -> Beginning | None:
    """The newest checkpoint before the cool-down; None if there is none any more."""
    cell = Cell.from_values(shorter.values)
    data = _data(cell, corpora)
    until = data.full_rate_until(cell)
    assert until is not None, "a sweep with such a cell is refused"
    place, _ = store_and_name(url)
    with closing(open_store(place)) as store:
        checkpoints = Checkpoints(store, cell=shorter.key, former_key=shorter.former_key)
        name = checkpoints.newest_name(at_most=until)
    if name is None:
        return None
    tokens = tokens_of(name)
    assert tokens is not None, "newest_name knows no others"
    return Beginning(
        key=longer.key,
        shorter=shorter.key,
        former_key=shorter.former_key,
        store=place,
        tokens=tokens,
        share=data.baseline_tokens(tokens) / longer.values["tokens"],
    )


def _state(
    one: Beginning, cell: CellRecord, corpora: Mapping[str, PreparedCorpus]
) -> dict[str, Any] | None:
    """The state that a cell begins with; None, with a warning, if it cannot be had."""
    longer = Cell.from_values(cell.values)
    try:
        with closing(open_store(one.store)) as store:
            found = Checkpoints(store, cell=one.shorter, former_key=one.former_key)
            restored = found.newest(at_most=one.tokens)
    except StoreError as error:
        logger.warning("the cell %s starts anew: %s", cell.label, error)
        return None
    if restored.state is None or restored.tokens != one.tokens:
        logger.warning("the cell %s starts anew: its checkpoint is damaged", cell.label)
        return None
    return longer_state(restored.state, cell=longer, data=_data(longer, corpora))


def _data(cell: Cell, corpora: Mapping[str, PreparedCorpus]) -> TrialData:
    return TrialData(cell, corpora=lambda tokenizer: corpora[tokenizer.key])


def _whole(url: str, folder: Path) -> str:
    """A checkpoint's URL that is right in any folder."""
    return url if "://" in url else str((folder / url).absolute())


def _facts(
    extended: ExtendedSweep,
    name: str,
    begun: Sequence[Beginning],
    again: Sequence[CellRecord],
) -> list[Fact]:
    shares = sorted({one.share for one in begun})
    tokens = " or ".join(count(share * extended.plan.tokens) for share in shares)
    facts: list[Fact] = [
        (
            "extends",
            f"the sweep {name}: {counted(len(begun), 'cell')} from {tokens} tokens, before the "
            f"cool-down, to {count(extended.plan.tokens)}",
        )
    ]
    if again:
        labels = ", ".join(cell.label for cell in again)
        facts.append(
            ("anew", f"{labels}: without a checkpoint from before the cool-down, from the start")
        )
    if extended.left:
        labels = ", ".join(f"{cell.label} ({cell.status.value})" for cell in extended.left)
        facts.append(("left", f"{labels}: not finished there, and no part of this sweep"))
    return facts
