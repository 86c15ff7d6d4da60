"""What a command continues and from where, and what it changes in a sweep that exists, in words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from tune_app.formats import count, counted, listed
from tune_app.journal.reached import Reached
from tune_app.journal.records import CellRecord, Status
from tune_app.plan.rows import PlannedCell
from tune_app.results.amendments import change_text
from tune_app.sweep.standing import Standing
from tune_app.terminal.facts import Fact

_MOST_NAMES = 4


def continuation(standing: Standing, so_far: Mapping[str, Reached]) -> list[Fact]:
    """What is continued and from where, and what the command changes; empty for a new sweep.

    so_far: how far each cell has come.
    """
    if standing.replaces:
        return [
            ("replaces", "the plan of an earlier command with other settings; it started no cell")
        ]
    change, sweep = standing.extension, standing.sweep
    if change is None or sweep is None:
        return []
    begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(sweep.created_at))
    facts = [("continues", f"the sweep of {begun}: {_where(standing, so_far)}")]
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


def _where(standing: Standing, so_far: Mapping[str, Reached]) -> str:
    """How many cells are done, resume, are tried again, or have not started."""
    left = {cell.key for cell in standing.left}
    known = [cell for cell in standing.recorded if cell.key in left]
    failed = [cell for cell in known if cell.status is Status.FAILED]
    begun = [cell for cell in known if cell.attempts and cell not in failed]
    done = sum(cell.status.done and cell.attempts > 0 for cell in standing.recorded)
    parts = [
        (done, "done"),
        (len(begun), f"resumed{_resumed(begun, so_far)}"),
        (len(failed), "tried again after a failure"),
        (len(left) - len(begun) - len(failed), "not started yet"),
    ]
    return listed(parts)


def _resumed(cells: Sequence[CellRecord], so_far: Mapping[str, Reached]) -> str:
    """From where a few of the cells resume, of how many tokens they had come to."""
    known = [(cell.label, so_far[cell.key]) for cell in cells if cell.key in so_far]
    told = [f"{label} {_from(one)}" for label, one in known if one.tokens]
    if not told:
        return " from the newest checkpoint"
    more = ", …" if len(told) > _MOST_NAMES else ""
    return f" ({', '.join(told[:_MOST_NAMES])}{more})"


def _from(one: Reached) -> str:
    """A cell whose checkpoint the journal does not record may still have one in the store."""
    if one.saved is None:
        return f"had {count(one.tokens)} tokens; from its newest checkpoint"
    of = "" if one.saved == one.tokens else f" of {count(one.tokens)}"
    return f"from {count(one.saved)}{of} tokens"


def _named(cells: Sequence[PlannedCell]) -> str:
    """How many cells, and the labels of a few."""
    labels = [cell.label for cell in cells]
    shown = ", ".join(labels[:_MOST_NAMES])
    more = f" and {len(labels) - _MOST_NAMES} more" if len(labels) > _MOST_NAMES else ""
    return f"{counted(len(labels), 'cell')}: {shown}{more}"
