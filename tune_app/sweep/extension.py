"""What a command changes in a sweep that exists: which cells it adds, and which rules it sets.

Pure: records and a plan in, what to write out. Cells are known by their identity, so what is
trained is adopted and only what is new is added. Whatever decides but does not train, the stopping
rules, may change at any time. A setting that changes the baseline itself makes another contest, in
which nothing trained so far could be compared: that is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tune_app.journal.records import CellRecord, Change, Status, SweepRecord
from tune_app.plan.cell import FORMER_SAMPLES, Cell
from tune_app.plan.cell_names import named
from tune_app.plan.followed import follows
from tune_app.plan.identity import BASELINE, canonical
from tune_app.plan.labels import ordered
from tune_app.plan.more_tokens import why_not_continued
from tune_app.plan.plan import SweepPlan
from tune_app.plan.rows import PlannedCell
from tune_app.plan.search.settings import describe_search
from tune_app.plan.shortening import shortened
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.curves import design_values, is_same_but_seed
from tune_app.sweep.recorded_sizes import with_recorded_sizes

_SEED = "seed"
_LONGEST = 80
"""Longer values are shortened in a refusal, in characters."""


class AnotherSweepError(ValueError):
    """The command asks for another contest than the one in the folder."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What a command changes in a sweep."""

    sweep: SweepRecord
    """The sweep's record from now on."""
    changes: tuple[Change, ...]
    added: tuple[PlannedCell, ...]
    """New cells; their positions are behind those of all others."""
    left_out: tuple[CellRecord, ...]
    """Cells that have not ended and that the command does not name. They are kept, not trained."""
    again: tuple[CellRecord, ...]
    """Cells that this command names and an earlier one left out, or that are paused by a scheduler
    which this command replaces."""
    labels: Mapping[str, str]
    """The label of every cell by its key."""

    @property
    def is_empty(self) -> bool:
        """Whether the command asks for the sweep as it is."""
        return not (self.changes or self.added or self.left_out or self.again)


def extension(
    sweep: SweepRecord,
    recorded: Sequence[CellRecord],
    plan: SweepPlan,
    rules: StoppingRules,
    *,
    command: str,
) -> Extension:
    """What the command changes.

    Args:
        sweep: the record in the journal.
        recorded: its cells.
        plan: what the command asks for, with the corpus under its recorded name.
        rules: the stopping rules it asks for.
        command: the command line that continues the sweep.

    Raises AnotherSweepError if the baseline would be trained differently, and ValueError if a cell
    has a new design, and this version solves the others to sizes other than the recorded ones.
    """
    plan = replace(plan, cells=tuple(map(_as_written, plan.cells)))
    refuse_another_contest(sweep, recorded, plan)
    plan = replace(plan, cells=with_recorded_sizes(recorded, plan.cells))
    known = {cell.key for cell in recorded}
    asked = {cell.key for cell in plan.cells}
    new = [cell for cell in plan.cells if cell.key not in known]
    left_out = tuple(one for one in recorded if one.key not in asked and not one.status.ended)
    first = 1 + max(cell.position for cell in recorded)
    placed = [replace(cell, position=first + at) for at, cell in enumerate(new)]
    # What was left out before it began is no part of the results.
    before = [one for one in recorded if one.attempts or one.status is not Status.LEFT_OUT]
    after: list[PlannedCell] = [
        one
        for one in recorded
        if one.attempts or one.key in asked or one.status is Status.INFEASIBLE
    ]
    after += placed
    scheduler, kill_rule = _rules(sweep, rules)
    # What another scheduler paused goes on to the next rung of the new one, if it has any.
    waiting = (
        {Status.LEFT_OUT} if scheduler == sweep.scheduler else {Status.LEFT_OUT, Status.PAUSED}
    )
    again = tuple(one for one in recorded if one.key in asked and one.status in waiting)
    seeds = tuple(_values(after, _SEED))
    nuisance = _nuisance(sweep, plan)
    axes = _axes(sweep, plan, [*recorded, *placed], nuisance) if new else _without_seed(sweep.axes)
    changed = replace(
        sweep,
        space=plan.space,
        seeds=seeds,
        axes=(*axes, _SEED) if len(seeds) > 1 or _SEED in sweep.axes else axes,
        log_axes=tuple(dict.fromkeys([*sweep.log_axes, *plan.log_axes])),
        nuisance=tuple(axis for axis in nuisance if axis in axes),
        paired=_paired(sweep, plan),
        search={} if plan.search is None else json.loads(json.dumps(plan.search.as_dict())),
        scheduler=scheduler,
        kill_rule=kill_rule,
        command=command,
    )
    every: list[PlannedCell] = [*recorded, *placed]
    # The cells of a search keep the names of their rounds.
    renamed = new and not changed.search
    labels = {one.key: one.label for one in (named(every, changed.axes) if renamed else every)}
    return Extension(
        sweep=changed,
        changes=tuple(_changes(sweep, before, changed, after)),
        added=tuple(replace(cell, label=labels[cell.key]) for cell in placed),
        left_out=tuple(replace(cell, label=labels[cell.key]) for cell in left_out),
        again=again,
        labels=labels,
    )


def refuse_another_contest(
    sweep: SweepRecord, recorded: Sequence[CellRecord], plan: SweepPlan
) -> None:
    """Raises AnotherSweepError, naming the settings, if the baseline would train differently."""
    one = next(cell for cell in recorded if cell.key == sweep.baseline).values
    other = plan.baseline.values
    if is_same_but_seed(one, other):
        return
    differing = [
        f"{name} is {_both(one.get(name), other.get(name))}"
        for name in {**one, **other}
        if name not in (_SEED, BASELINE) and _text(one.get(name)) != _text(other.get(name))
    ]
    if not differing:
        nested_one, nested_other = dict(one[BASELINE]), dict(other[BASELINE])
        differing = [
            f"the baseline's {name} is {_both(nested_one.get(name), nested_other.get(name))}"
            for name in nested_one | nested_other
            if _text(nested_one.get(name)) != _text(nested_other.get(name))
        ]
    if one.get("sample") in FORMER_SAMPLES and other.get("sample") != one.get("sample"):
        raise AnotherSweepError(
            f"the sweep {plan.name!r} was begun by an older version ({'; '.join(differing)}): its "
            "scores while training are of another sample of text, which this version no longer "
            f"takes. It can be read, as with the command report, but not continued; give this one "
            f"another name, for example --name {plan.name}-2"
        )
    why = ""
    if _text(one.get("tokens")) != _text(other.get("tokens")):
        cell = Cell.from_values(one)
        why = f"; {why_not_continued(cell, tokens=int(other['tokens']))}"
    raise AnotherSweepError(
        f"there is already a different sweep named {plan.name!r} ({'; '.join(differing)}), and "
        f"cells trained in different ways cannot be compared{why}; give this one another name, for "
        f"example --name {plan.name}-2, or use the same settings to continue that one"
    )


def _paired(sweep: SweepRecord, plan: SweepPlan) -> tuple[tuple[str, ...], ...]:
    """The pairs that both have: an axis that one of them varies alone is paired no longer."""
    return tuple(
        names
        for names in dict.fromkeys([*sweep.paired, *plan.paired])
        if all(names in one.paired or not set(names) & set(one.axes) for one in (sweep, plan))
    )


def _nuisance(sweep: SweepRecord, plan: SweepPlan) -> tuple[str, ...]:
    """The nuisance axes of both, without those that the command asks about as axes."""
    earlier = (axis for axis in sweep.nuisance if axis not in plan.axes)
    return tuple(dict.fromkeys([*plan.nuisance, *earlier]))


def _axes(
    sweep: SweepRecord, plan: SweepPlan, cells: Sequence[PlannedCell], nuisance: Sequence[str]
) -> tuple[str, ...]:
    """The axes of both, and any other setting in which cells differ; without the seed.

    The baseline's own settings are no axis: a space may set some for it alone.
    """
    axes = list(dict.fromkeys([*_without_seed(plan.axes), *_without_seed(sweep.axes)]))
    own = design_values(plan.baseline.values, nuisance)
    others = [cell for cell in cells if design_values(cell.values, nuisance) != own]
    names = dict.fromkeys(name for cell in others for name in cell.values)
    return (
        *axes,
        *(
            name
            for name in names
            if name not in (*axes, _SEED, BASELINE)
            and len(_values(others, name)) > 1
            and not follows(name, [cell.values for cell in others])
        ),
    )


def _changes(
    sweep: SweepRecord,
    before: Sequence[PlannedCell],
    changed: SweepRecord,
    after: Sequence[PlannedCell],
) -> Iterator[Change]:
    for axis in (*_without_seed(changed.axes), _SEED):
        one, other = _values(before, axis), _values(after, axis)
        if _text(one) != _text(other):
            yield Change(name="seeds" if axis == _SEED else axis, before=one, after=other)
    if sorted(sweep.nuisance) != sorted(changed.nuisance):
        before_and_after = list(sweep.nuisance), list(changed.nuisance)
        yield Change(name="nuisance", before=before_and_after[0], after=before_and_after[1])
    if sweep.search != changed.search:
        both = describe_search(sweep.search), describe_search(changed.search)
        yield Change(name="search", before=both[0], after=both[1])
    for name in ("space", "scheduler", "kill_rule"):
        one, other = getattr(sweep, name), getattr(changed, name)
        if one != other:
            yield Change(name=name, before=one, after=other)


def _rules(sweep: SweepRecord, rules: StoppingRules) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The records of scheduler and kill rule from now on; as they are if they mean the same."""
    scheduler, kill_rule = rules.scheduler_record, rules.kill_rule.as_dict()
    try:
        recorded = StoppingRules.from_record(sweep)
    except ValueError:  # rules that this version does not know
        return scheduler, kill_rule
    return (
        sweep.scheduler if recorded.scheduler_record == scheduler else scheduler,
        sweep.kill_rule if recorded.kill_rule.as_dict() == kill_rule else kill_rule,
    )


def _values(cells: Iterable[PlannedCell], axis: str) -> list[Any]:
    return ordered([cell.values.get(axis) for cell in cells])


def _without_seed(axes: Iterable[str]) -> tuple[str, ...]:
    return tuple(axis for axis in axes if axis != _SEED)


def _both(there: Any, here: Any) -> str:
    """Both values, shortened so that the part in which they differ stays."""
    texts = [json.dumps(value, ensure_ascii=False) for value in (there, here)]
    one, other = shortened(texts, _LONGEST)
    return f"{one} there, {other} here"


def _text(value: Any) -> str:
    """The same text for values that mean the same, as 3 and 3.0."""
    return json.dumps(canonical(value), sort_keys=True)


def _as_written(cell: PlannedCell) -> PlannedCell:
    """The cell as a journal returns it, with lists for tuples."""
    return replace(cell, values=json.loads(json.dumps(cell.values)))
