"""Settings of a rule among those of the cells, or the other way round."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from tune_app.plan.identity import FROZEN_DEFAULTS
from tune_app.plan.space import Space
from tune_app.plan.space_file import at_its_line
from tune_app.plan.wishes import Wishes
from tune_app.stopping.all_rules import SCHEDULERS

_OWNERS = {"FIXED": "the cells", "SCHEDULER": "the scheduler", "KILL_RULE": "the kill rule"}
_OPTIONS = {"unit": "--kill-rule", "margin": "--kill-margin", "span": "--kill-span"}
"""The kill rule's settings that have an option."""


def refuse_misplaced(space: Space, wishes: Wishes, *, kill_rule: Collection[str]) -> None:
    """Raises ValueError for a setting in a part of the space, or an option, that is not its own.

    kill_rule: names of the kill rule's settings.
    """
    homes = {
        **dict.fromkeys(kill_rule, "KILL_RULE"),
        **{field.name: "SCHEDULER" for kind in SCHEDULERS.values() for field in fields(kind)},
        **{name: "FIXED" for name in FROZEN_DEFAULTS if name != "seed"},
    }
    parts: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "AXES": ("FIXED", space.axes),
        "FIXED": ("FIXED", space.fixed),
        "BASELINE": ("FIXED", space.baseline),
        "SCHEDULER": ("SCHEDULER", space.scheduler),
        "KILL_RULE": ("KILL_RULE", space.kill_rule),
    }
    for part, (own, values) in parts.items():
        for name in values:
            home = homes.get(name, own)
            if home != own:
                error = ValueError(
                    f"{name} is a setting of {_OWNERS[home]}; set it in {home}, not in {part}"
                )
                raise at_its_line(error, space, part=part, overridden=())
    for name, value in wishes.set:
        if homes.get(name, "FIXED") != "FIXED":
            remedy = _remedy(name, value, homes[name])
            raise ValueError(f"{name} is a setting of {_OWNERS[homes[name]]}; {remedy}")
    for name, value in wishes.scheduler_set:
        if homes.get(name, "SCHEDULER") != "SCHEDULER":
            remedy = _remedy(name, value, homes[name])
            raise ValueError(f"{name} is a setting of {_OWNERS[homes[name]]}; {remedy}")


def _remedy(name: str, value: Any, home: str) -> str:
    """How an option gives the setting instead."""
    if home == "FIXED":
        return f"use --set {name}={value}"
    if home == "SCHEDULER":
        return f"use --scheduler-set {name}={value}"
    if name in _OPTIONS:
        return f"use {_OPTIONS[name]}"
    return "set it in the KILL_RULE of a space"
