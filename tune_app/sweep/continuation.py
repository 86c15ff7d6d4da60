"""What a command continues and from where, and what it changes in a sweep that exists, in words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from tune_app.formats import count, counted, listed
from tune_app.journal.records import CellRecord, Status
from tune_app.plan.rows import PlannedCell
from tune_app.results.amendments import change_text
from tune_app.sweep.standing import Standing
from tune_app.terminal.facts import Fact

_MOST_NAMES = 4


def continuation(standing: Standing, trained: Mapping[str, int]) -> list[Fact]:
    """What is continued and from where, and what the command changes; empty for a new sweep.

    trained: tokens of each cell at its last sign of life.
    """
    if standing.replaces:
        return [
            ("replaces", "the plan of an earlier command with other settings; it started no cell")
        ]
    change, sweep = standing.extension, standing.sweep
    if change is None or sweep is None:
        return []
    begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(sweep.created_at))
    facts = [("continues", f"the sweep of {begun}: {_where(standing, trained)}")]
    if change.added:
        facts.append(("added", _named(change.added)))
    facts += [("changed", change_text(one, tokens=sweep.tokens)) for one in change.changes]
    rules = {one.name for one in change.changes} & {"scheduler", "kill_rule"}
    stopped = sum(cell.status is Status.STOPPED for cell in standing.recorded)
    if rules and stopped:
        facts.append(("note", f"what is stopped stays stopped: {counted(stopped, 'cell')}"))
    if change.left_out:
        text = f"{_named(change.left_out)}; not named by this command, kept until one names them"
        facts.append(("left out", text))
    return facts


def _where(standing: Standing, trained: Mapping[str, int]) -> str:
    """How many cells are done, resume, are tried again, or have not started."""
    left = {cell.key for cell in standing.left}
    known = [cell for cell in standing.recorded if cell.key in left]
    failed = [cell for cell in known if cell.status is Status.FAILED]
    begun = [cell for cell in known if cell.attempts and cell not in failed]
    done = sum(cell.status.done for cell in standing.recorded)
    parts = [
        (done, "done"),
        (len(begun), f"resumed from the newest checkpoint{_reached(begun, trained)}"),
        (len(failed), "tried again after a failure"),
        (len(left) - len(begun) - len(failed), "not started yet"),
    ]
    return listed(parts)


def _reached(cells: Sequence[CellRecord], trained: Mapping[str, int]) -> str:
    """How far the cells had come, of a few."""
    known = [cell for cell in cells if trained.get(cell.key)]
    if not known:
        return ""
    told = [f"{cell.label} had {count(trained[cell.key])} tokens" for cell in known[:_MOST_NAMES]]
    more = ", …" if len(known) > _MOST_NAMES else ""
    return f", which may be earlier than where they were ({', '.join(told)}{more})"


def _named(cells: Sequence[PlannedCell]) -> str:
    """How many cells, and the labels of a few."""
    labels = [cell.label for cell in cells]
    shown = ", ".join(labels[:_MOST_NAMES])
    more = f" and {len(labels) - _MOST_NAMES} more" if len(labels) > _MOST_NAMES else ""
    return f"{counted(len(labels), 'cell')}: {shown}{more}"
