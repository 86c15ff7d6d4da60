"""What a new phase takes over from the phases before it, and what it must not take over."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from tune_app.journal.adoption import AdoptedCell, adopted_cell
from tune_app.journal.journal import Journal
from tune_app.journal.records import Status
from tune_app.stores.base import StoreUnreachableError
from tune_app.stores.open import open_store
from tune_app.study.found import Found
from tune_app.study.planning import PlannedPhase, folder_of
from tune_app.study.spec import Study
from tune_app.sweep.folder import JOURNAL


def adopted_cells(
    study: Study, folder: Path, planned: PlannedPhase, found: Found
) -> tuple[AdoptedCell, ...]:
    """What earlier phases have trained of a phase's cells, each from the phase that went furthest.

    Empty if the phase exists: it adopted them when it was created.
    """
    if (folder / planned.folder / JOURNAL).exists():
        return ()
    wanted = {cell.key for cell in planned.plan.cells}
    adopted: dict[str, AdoptedCell] = {}
    for number, one in enumerate(found.phases):
        path = folder / folder_of(number, study.phases[number])
        keys = [cell.cell.key for cell in one.results.cells if cell.cell.key in wanted]
        if not keys:
            continue
        with Journal.open(path / JOURNAL, read_only=True) as journal:
            checkpoints = journal.checkpoints()
            for key in keys:
                known = adopted.get(key)
                if known is not None and known.status is Status.FINISHED:
                    continue
                url = checkpoints.get(key)
                if url is not None and "://" not in url:
                    url = str((path / url).absolute())
                if (cell := adopted_cell(journal, key, checkpoint=url)) is not None:
                    adopted[key] = cell
    return tuple(adopted.values())


def forget_strays(store: str, planned: PlannedPhase, adopted: Iterable[AdoptedCell]) -> None:
    """Removes checkpoints of a new phase's cells that no phase before has trained.

    They are of a phase whose folder was removed. A cell that went on from one would lack the
    evaluations before it, so that noise along the curve, and stopping rules, would see another
    curve than the first time.

    Args:
        store: of the study alone.
        planned: the phase, which has no journal yet.
        adopted: what it takes over, with its checkpoints.

    Raises StoreError.
    """
    known = {cell.key for cell in adopted}
    # A store that is not there yet has none; the sweep says what is wrong with one that is lost.
    with closing(open_store(store)) as opened, suppress(StoreUnreachableError):
        for cell in planned.plan.cells:
            if cell.key not in known:
                # Manifests first: an interrupted removal leaves nothing that looks intact.
                for name in sorted(opened.names(cell.key)):
                    opened.remove(name)
