"""The rules of a new sweep, from its space and the user's options."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tune_app.formats import plain
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.stopping.all_rules import NO_SCHEDULER, StoppingRules, scheduler_from_record
from tune_app.stopping.asha import AshaSettings
from tune_app.stopping.kill_rule import KillRule

_SPAN_FRACTION = "span_fraction"
"""A space's way to give the span of the kill rule, as a share of the tokens."""
SPAN_TOKENS = 1_000_000
"""Default span of the kill rule, in baseline tokens."""

_DEFAULT_SCHEDULER = AshaSettings.NAME


def planned_rules(space: Space, wishes: Wishes, *, tokens: int) -> StoppingRules:
    """The rules for trials of `tokens` baseline tokens, from the space and the user's options.

    Raises ValueError for an unknown name or setting, and for rules that cannot work on such trials.
    """
    rules = StoppingRules(
        kill_rule=_planned_kill_rule(space, wishes, tokens),
        scheduler=scheduler_from_record(_planned_scheduler(space, wishes)),
    )
    rules.build(tokens=tokens)
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
    if "name" in wishes.scheduler_settings:
        raise ValueError("--scheduler-set name: a scheduler is chosen with --scheduler")
    # A space's settings are for its own scheduler: another one has other settings.
    settings = own if name == named else {}
    return {**settings, **wishes.scheduler_settings, "name": name}


def _planned_kill_rule(space: Space, wishes: Wishes, tokens: int) -> KillRule:
    values = dict(space.kill_rule)
    known = [*(one.name for one in fields(KillRule)), _SPAN_FRACTION]
    if unknown := [name for name in values if name not in known]:
        raise ValueError(
            f"{space.source}: unknown setting {unknown[0]!r} in KILL_RULE; expected one of "
            f"{', '.join(known)}"
        )
    fraction = values.pop(_SPAN_FRACTION, None)
    if fraction is not None:
        values["span"] = round(fraction * tokens)
    values.setdefault("span", SPAN_TOKENS)
    wished = {"unit": wishes.kill_rule, "margin": wishes.kill_margin, "span": wishes.kill_span}
    own_unit = values.get("unit", KillRule().unit)
    values |= {name: value for name, value in wished.items() if value is not None}
    rule = KillRule.from_record(values)
    if rule.unit not in (own_unit, "off") and wishes.kill_margin is None:
        raise ValueError(
            f"the kill rule's margin of {plain(rule.margin, 6)} is in {own_unit}, not in "
            f"{rule.unit}; set --kill-margin too, for example 0.01 for bpb or 3 for sigma"
        )
    if rule.unit == "sigma" and len(wishes.seeds) < 2:
        raise ValueError(
            "the kill rule's unit sigma needs the baseline on at least two seeds, not "
            f"{len(wishes.seeds)}; add --seeds, or use the unit bpb"
        )
    return rule
