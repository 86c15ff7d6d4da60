"""What must hold after the faults. Each check is a pure function that returns what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.faults import Blow
from tune_app.journal.metrics import metric
from tune_app.journal.records import (
    Attempt,
    CellRecord,
    Decision,
    Failure,
    FailureClass,
    Observation,
    Status,
)

_CLOCK = frozenset({"metrics", "seconds", "at", "arrival"})
"""Fields that a clock decides, and the metrics, some of which it does."""

NOTICED_WITHIN = 120.0
"""Seconds from a fault to the failure that it explains: Ray gives a silent node up after 65."""

DEADLY = frozenset({"worker killed", "node killed", "checkpoint torn"})
"""Faults that a sweep has to note as a lost host; a killed driver notes nothing."""

EXPLAINS: Mapping[str, frozenset[FailureClass]] = {
    "worker killed": frozenset({FailureClass.HOST}),
    "node killed": frozenset({FailureClass.HOST}),
    "driver killed": frozenset({FailureClass.HOST}),
    "worker paused": frozenset({FailureClass.HOST, FailureClass.NETWORK}),
    "node paused": frozenset({FailureClass.HOST, FailureClass.NETWORK}),
    "store away": frozenset({FailureClass.STORAGE}),
    "checkpoint torn": frozenset({FailureClass.HOST, FailureClass.STORAGE}),
}
"""The classes of failure that may follow a fault of a kind."""


def unfinished(cells: Iterable[CellRecord]) -> list[str]:
    """Cells that did not train to their end."""
    return [
        f"{cell.label} is {cell.status.value}" + (f": {cell.reason}" if cell.reason else "")
        for cell in cells
        if cell.status is not Status.FINISHED
    ]


def differing_curves(
    disturbed: Iterable[Observation], undisturbed: Iterable[Observation]
) -> list[str]:
    """Observations that are not the same, bit for bit, in all but what a clock decides."""
    here = {(point.cell, point.tokens): _plain(point) for point in disturbed}
    there = {(point.cell, point.tokens): _plain(point) for point in undisturbed}
    wrong = [
        f"{cell} has nothing at {tokens} tokens" for cell, tokens in there.keys() - here.keys()
    ]
    wrong += [
        f"{cell} was seen at {tokens} tokens, only after faults"
        for cell, tokens in here.keys() - there.keys()
    ]
    for key in here.keys() & there.keys():
        names = [name for name in here[key] if repr(here[key][name]) != repr(there[key].get(name))]
        if names:
            values = ", ".join(
                f"{name} {here[key][name]} not {there[key].get(name)}" for name in names
            )
            wrong.append(f"{key[0]} at {key[1]} tokens: {values}")
    return sorted(wrong)


def duplicates(observations: Iterable[Observation]) -> list[str]:
    """(cell, tokens) that a journal has more than once."""
    counts = Counter((point.cell, point.tokens) for point in observations)
    return [f"{cell} at {tokens} tokens" for (cell, tokens), count in counts.items() if count > 1]


def changed_decisions(
    disturbed: Iterable[Decision], undisturbed: Iterable[Decision], *, in_order: bool
) -> list[str]:
    """Decisions that differ in anything but their time.

    Args:
        disturbed: after the faults.
        undisturbed: without them.
        in_order: whether they must have fallen in the same order, as with one cell at a time.
    """
    here, there = [_plain(item) for item in disturbed], [_plain(item) for item in undisturbed]
    if not in_order:
        here, there = sorted(here, key=repr), sorted(there, key=repr)
    wrong = [f"not taken: {_short(item)}" for item in there if item not in here]
    wrong += [f"taken only after faults: {_short(item)}" for item in here if item not in there]
    if not wrong and repr(here) != repr(there):
        wrong.append("the same decisions fell in another order, or one of them twice")
    return wrong


def unexplained_failures(failures: Iterable[Failure], blows: Sequence[Blow]) -> list[str]:
    """Failures that no fault accounts for: of another class, cell or time, or with an end."""
    wrong = []
    for failure in failures:
        what = f"{failure.kind.value} failure of {failure.cell} at {failure.at:.1f}"
        if failure.ended:
            wrong.append(f"{what} ended the cell: {failure.reason}")
        elif not any(explains(blow, failure) for blow in blows):
            wrong.append(f"{what} has no fault before it: {failure.reason}")
    return wrong


def explains(blow: Blow, failure: Failure) -> bool:
    """Whether a fault may have caused a failure."""
    return (
        failure.kind in EXPLAINS[blow.kind]
        and (failure.cell in blow.reached or blow.kind == "store away")
        and blow.at <= failure.at <= blow.at + blow.seconds + NOTICED_WITHIN
    )


def unnoticed_faults(
    failures: Sequence[Failure], blows: Sequence[Blow], attempts: Sequence[Attempt]
) -> list[str]:
    """Deaths after which a cell was taken up again, and that the journal says nothing of.

    A driver that dies before it takes the cell up again may never have heard of the death.
    """
    drivers = [blow.at for blow in blows if blow.kind == "driver killed"]
    wrong = []
    for blow in blows:
        if blow.kind not in DEADLY:
            continue
        for cell in blow.reached:
            later = (
                attempt.started_at
                for attempt in attempts
                if attempt.cell == cell and attempt.started_at > blow.at
            )
            again = min(later, default=None)
            if again is None or any(blow.at <= at <= again for at in drivers):
                continue
            noticed = (
                failure.cell == cell
                and failure.kind is FailureClass.HOST
                and explains(blow, failure)
                for failure in failures
            )
            if not any(noticed):
                wrong.append(f"fault {blow.number}, {blow.kind}, of {cell} is in no failure")
    return wrong


def forgotten_checkpoints(attempts: Iterable[Attempt], blows: Sequence[Blow]) -> list[str]:
    """Attempts that went on from less than what was stored when their cell was hit last."""
    wrong = []
    for attempt in attempts:
        before = [
            blow for blow in blows if attempt.cell in blow.stored and blow.at < attempt.started_at
        ]
        if not before or attempt.resumed_from is None:
            continue
        last = max(before, key=lambda blow: blow.at)
        if attempt.resumed_from < last.stored[attempt.cell]:
            wrong.append(
                f"attempt {attempt.number} of {attempt.cell} went on from {attempt.resumed_from} "
                f"tokens; {last.stored[attempt.cell]} were stored at fault {last.number}"
            )
    return wrong


def trained_again(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Cells that had ended, and were attempted once more.

    Args:
        before: attempts of ended cells at a moment.
        after: attempts of all cells at the end.
    """
    return [
        f"{cell} had ended after {attempts} attempts and now has {after[cell]}"
        for cell, attempts in before.items()
        if after[cell] != attempts
    ]


def differing_replays(output: str) -> list[str]:
    """What the driver warned of: a retrained stretch that gave another result."""
    return [line for line in output.splitlines() if "with another result" in line]


def tracebacks(output: str) -> list[str]:
    """Errors of the driver itself. Ray's own messages of a lost actor are none."""
    found = []
    for block in output.split("Traceback (most recent call last):\n")[1:]:
        error = next((line for line in block.splitlines() if not line.startswith(" ")), "")
        if not error.startswith("ray.exceptions.Actor"):
            found.append(error)
    return found


def leftovers(*folders: Path, scratch: str) -> list[str]:
    """Files that somebody wrote for a moment and left, and folders for one run alone.

    Args:
        folders: where to look.
        scratch: name of the folder that Tune's own snapshots go to.
    """
    return sorted(
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in (".tmp", ".new")
        or path.name.startswith("stellux-")
        or path.name == scratch
    )


def _plain(record: Observation | Decision) -> dict[str, Any]:
    metrics = record.metrics if isinstance(record, Observation) else {}
    return {name: value for name, value in vars(record).items() if name not in _CLOCK} | {
        name: value for name, value in metrics.items() if metric(name).repeats
    }


def _short(item: Mapping[str, Any]) -> str:
    return f"{item['action'].value} {item['cell']} at {item['tokens']} tokens ({item['reason']})"
