"""The stopping rules of a sweep over time: those it was started with, and those set since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tune_app.journal.records import Amendment, SweepRecord
from tune_app.stopping.all_rules import StoppingRules


def continued(sweep: SweepRecord, rules: StoppingRules) -> StoppingRules:
    """The rules of a command for a sweep that exists: without a scheduler's name it goes on with
    its own, at the settings that are asked for if they are settings of that one.

    Raises ValueError for settings that are not valid.
    """
    try:
        recorded = StoppingRules.from_record(sweep)
    except ValueError:  # rules that this version does not know
        return rules
    if rules.named or recorded.scheduler is None or rules.scheduler is None:
        return rules
    kind, asked = type(recorded.scheduler), rules.scheduler.as_dict()
    if recorded.scheduler.as_dict().keys() != asked.keys():
        return replace(rules, scheduler=recorded.scheduler)
    return replace(rules, scheduler=kind.from_record(asked))


def rule_sets(sweep: SweepRecord, amendments: Sequence[Amendment]) -> list[StoppingRules]:
    """The rules after each number of amendments: the first are those of the start.

    sweep: the record as it is now.

    Raises ValueError for a rule or a setting that this version does not know.
    """
    sets = [StoppingRules.from_record(sweep)]
    for amendment in reversed(amendments):
        before = {
            change.name: change.before
            for change in amendment.changes
            if change.name in ("scheduler", "kill_rule")
        }
        sweep = replace(sweep, **before)
        sets.append(StoppingRules.from_record(sweep))
    return sets[::-1]
