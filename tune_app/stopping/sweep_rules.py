"""The rules of a new sweep, from its space and the user's options."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from data.counts import with_counts_read
from tune_app.formats import plain
from tune_app.plan.budget import TrainTokens
from tune_app.plan.identity import unknown_setting
from tune_app.plan.noise_records import fitting, recorded_noise
from tune_app.plan.plan import SweepPlan, make_plan
from tune_app.plan.settings import Setting, settings_of
from tune_app.plan.space import Space
from tune_app.plan.space_file import at_its_line
from tune_app.plan.wishes import Wishes
from tune_app.stopping.all_rules import (
    NO_SCHEDULER,
    SCHEDULERS,
    StoppingRules,
    scheduler_from_record,
)
from tune_app.stopping.asha import AshaSettings
from tune_app.stopping.kill_rule import UNITS, KillRule
from tune_app.stopping.misplaced import refuse_misplaced
from tune_app.stopping.race import PairedRaceSettings
from tune_app.stopping.rule import RuleSettings

SPAN_TOKENS = 1_000_000
"""Default span of the kill rule, in baseline tokens."""

SPAN_FRACTION = "span_fraction"
"""In a space's KILL_RULE: the span as a share of a trial's tokens."""

_DEFAULT_SCHEDULER = AshaSettings.NAME

Built = TypeVar("Built", bound=RuleSettings | None)


def plan_with_rules(
    space: Space, wishes: Wishes, *, train_tokens: TrainTokens | None = None
) -> tuple[SweepPlan, StoppingRules]:
    """The plan of a new sweep, and its stopping rules.

    train_tokens: counts the training text, for a length in epochs; None refuses one.

    Raises ValueError as `make_plan` and `planned_rules` do, and for a setting of a rule among those
    of the cells, or the other way round.
    """
    refuse_misplaced(space, wishes, kill_rule=KILL_RULE_NAMES)
    plan = make_plan(space, wishes, train_tokens=train_tokens)
    rules = planned_rules(space, wishes, tokens=plan.tokens)
    return plan, with_recorded_noise(rules, [cell.values for cell in plan.cells])


def with_recorded_noise(rules: StoppingRules, cells: Sequence[Mapping[str, Any]]) -> StoppingRules:
    """The rules, where a race is told no σ with the recorded one of such sweeps.

    cells: values of all of the sweep.
    """
    race = rules.scheduler
    if not isinstance(race, PairedRaceSettings) or race.sigma:
        return rules
    record = fitting(recorded_noise(), cells)
    if record is None:
        return rules
    known = replace(race, sigma=record.sigma, degrees_of_freedom=record.degrees_of_freedom)
    return replace(rules, scheduler=known)


def kill_rule_settings() -> tuple[Setting, ...]:
    """The settings that a space's KILL_RULE may have, for people."""
    fraction = Setting(
        name=SPAN_FRACTION,
        default="none",
        kind="a number",
        meaning="The span as a share of a cell's tokens, in place of span; only in a space.",
    )
    return (*settings_of(KillRule, {"unit": UNITS}), fraction)


KILL_RULE_NAMES = (*(field.name for field in fields(KillRule)), SPAN_FRACTION)


def planned_rules(space: Space, wishes: Wishes, *, tokens: int) -> StoppingRules:
    """The rules for trials of `tokens` baseline tokens, from the space and the user's options.

    Raises ValueError for an unknown name or setting, and for rules that cannot work on such trials.
    """
    rules = StoppingRules(
        kill_rule=_planned_kill_rule(space, wishes, tokens),
        named=wishes.scheduler is not None or "name" in space.scheduler,
        scheduler=_read(
            scheduler_from_record,
            _planned_scheduler(space, wishes),
            space=space,
            part="SCHEDULER",
            overridden=wishes.scheduler_settings,
        ),
    )
    rules.build(tokens=tokens)
    if isinstance(rules.scheduler, PairedRaceSettings) and len(wishes.seeds) < 2:
        raise ValueError(
            "a race compares designs on several seeds, block by block, and this command names one; "
            "name as many as the race may use at most, as in --seeds 0,1,2,3,4"
        )
    return rules


def _planned_scheduler(space: Space, wishes: Wishes) -> dict[str, Any]:
    own = dict(space.scheduler)
    named = own.pop("name", _DEFAULT_SCHEDULER)
    name = named if wishes.scheduler is None else wishes.scheduler
    if name == NO_SCHEDULER and wishes.scheduler_set:
        raise ValueError(
            f"--scheduler-set {wishes.scheduler_set[0][0]}: the scheduler {name} has no settings; "
            f"choose another --scheduler, for example {_DEFAULT_SCHEDULER}"
        )
    if wishes.smallest_difference is not None and name != PairedRaceSettings.NAME:
        raise ValueError(
            f"--smallest-difference is a setting of --scheduler {PairedRaceSettings.NAME}, and the "
            f"scheduler is {name}; name that one, or leave the option out"
        )
    if "name" in wishes.scheduler_settings:
        raise ValueError("--scheduler-set name: a scheduler is chosen with --scheduler")
    # A space's settings are for its own scheduler: another one may have other settings.
    settings = own if name == named or _same_settings(name, named) else {}
    return {**settings, **wishes.scheduler_settings, "name": name}


def _same_settings(one: Any, other: Any) -> bool:
    kinds = [SCHEDULERS.get(name) for name in (one, other)]
    names = [kind and {field.name for field in fields(kind)} for kind in kinds]
    return None not in names and names[0] == names[1]


def _planned_kill_rule(space: Space, wishes: Wishes, tokens: int) -> KillRule:
    values = dict(space.kill_rule)
    wished = {"unit": wishes.kill_rule, "margin": wishes.kill_margin, "span": wishes.kill_span}
    wished = {name: value for name, value in wished.items() if value is not None}
    own_unit = values.get("unit", KillRule().unit)

    def build(record: Mapping[str, Any]) -> KillRule:
        return KillRule.from_record({**_with_span(record, tokens), **wished})

    rule = _read(build, values, space=space, part="KILL_RULE", overridden=wished)
    if rule.unit not in (own_unit, "off") and wishes.kill_margin is None:
        raise ValueError(
            f"the kill rule's margin of {plain(rule.margin, 6)} is in {own_unit}, not in "
            f"{rule.unit}; set --kill-margin too, for example 0.01 for bpb or 3 for sigma"
        )
    if rule.unit == "sigma" and len(wishes.seeds) < 2:
        raise ValueError(
            "the kill rule's unit sigma needs the baseline on at least two seeds, not "
            f"{len(wishes.seeds)}; name them all with --seeds, also those that the sweep has "
            "already, or use the unit bpb"
        )
    return rule


def _with_span(record: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    """The kill rule of a space with its span in tokens. Raises ValueError for unknown settings."""
    for name in record:
        if name not in (*KILL_RULE_NAMES, "name"):
            raise ValueError(unknown_setting(name, KILL_RULE_NAMES, of=KillRule.TITLE.by))
    values = dict(record)
    fraction = values.pop(SPAN_FRACTION, None)
    if fraction is not None:
        number = isinstance(fraction, (int, float)) and not isinstance(fraction, bool)
        if not (number and math.isfinite(fraction) and fraction > 0):
            raise ValueError(
                f"{SPAN_FRACTION} of the kill rule is {fraction!r}; it must be a number above 0, "
                "for example 0.2 for a fifth of a cell's tokens"
            )
        values["span"] = round(fraction * tokens)
    values.setdefault("span", SPAN_TOKENS)
    return values


def _read(
    build: Callable[[Mapping[str, Any]], Built],
    record: Mapping[str, Any],
    *,
    space: Space,
    part: str,
    overridden: Collection[str],
) -> Built:
    """The settings of a rule, with counts such as 20k as numbers.

    Raises ValueError, with the file and the line of the setting if it is one of the space's `part`.
    """
    try:
        return build({name: with_counts_read(value) for name, value in record.items()})
    except ValueError as error:
        raise at_its_line(error, space, part=part, overridden=overridden) from None
