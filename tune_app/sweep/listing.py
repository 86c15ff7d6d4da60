"""The sweeps in a results folder, read from their journals alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from data.suggestions import did_you_mean
from tune_app import formats
from tune_app.journal.journal import Journal
from tune_app.journal.records import Status
from tune_app.results.summary import summarise
from tune_app.sweep.folder import JOURNAL
from tune_app.terminal.progress import SweepProgress
from tune_app.terminal.sweeps import SweepRow


def list_sweeps(results: Path) -> list[SweepRow]:
    """The sweeps in a results folder, the newest first; those that cannot be read last.

    Empty if there is none, or no such folder: the first sweep makes it.
    Raises ValueError if it is a file.
    """
    if results.exists() and not results.is_dir():
        raise ValueError(f"{str(results)!r} is a file; name the folder that holds your sweeps")
    found = [_row(journal.parent) for journal in results.glob(f"*/{JOURNAL}")]
    return sorted(found, key=lambda row: (bool(row.problem), -row.created_at, row.folder.name))


def open_named(name: str, results: Path) -> Journal:
    """The journal of a sweep, for reading.

    Raises ValueError that names the sweeps there are, if there is none of this name.
    """
    path = results / name / JOURNAL
    if path.parent.parent == results and not path.exists():
        names = sorted(journal.parent.name for journal in results.glob(f"*/{JOURNAL}"))
        hint = did_you_mean(name, names)
        there = (
            f"it has {', '.join(names)}" if names else "it has none yet; stellux sweep starts one"
        )
        raise ValueError(f"there is no sweep {name!r} in {str(results)!r}; {hint}{there}")
    return Journal.open(path, read_only=True)


def _row(folder: Path) -> SweepRow:
    try:
        with Journal.open(folder / JOURNAL, read_only=True) as journal, journal.one_moment():
            sweep, cells = journal.sweep(), journal.cells()
            leader, running = summarise(journal).leader, journal.is_driven
            more = SweepProgress.read(journal).to_come
    except Exception as error:  # whatever one folder holds, the others are listed
        return SweepRow(folder=folder, problem=formats.one_line(str(error)) or repr(error))
    statuses = {status: sum(cell.status is status for cell in cells) for status in Status}
    return SweepRow(
        folder=folder,
        state=state_of(statuses, running=running, to_come=more),
        done=sum(number for status, number in statuses.items() if status.done),
        cells=len(cells) - statuses[Status.INFEASIBLE] - statuses[Status.LEFT_OUT] + more,
        leader="" if leader is None else leader.label,
        created_at=sweep.created_at,
    )


def state_of(statuses: Mapping[Status, int], *, running: bool, to_come: int = 0) -> str:
    """The state of a sweep that has so many cells of each status.

    to_come: cells that a search has still to propose.
    """
    if running:
        return "running"
    if all(status.ended for status, number in statuses.items() if number) and not to_come:
        return "done"
    left = [status for status, number in statuses.items() if number and not status.ended]
    if left == [Status.FAILED]:
        return "failed"
    begun = any(
        number
        for status, number in statuses.items()
        if status not in (Status.PENDING, Status.INFEASIBLE)
    )
    return "unfinished" if begun else "not started"
