"""Nuisance axes: settings of training that every design is tried at, and compared at its best of.

    NUISANCE = {"learning_rate_factor": [0.5, 1, 2]}

A design is a cell without its nuisance values and its seed. An axis of the model's shape or of the
budget is a question, not a nuisance, and belongs in AXES.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from model.spec import ModelSpec
from model.training.settings import TrainingSettings
from tune_app.plan.identity import FROZEN_DEFAULTS, canonical, unknown_setting
from tune_app.plan.labels import axis_name, describe_value

PART = "NUISANCE"
"""Its name in a space file."""

TRAINING = tuple(field.name for field in fields(TrainingSettings))
"""The settings that may be nuisance axes."""

_MODEL = {field.name for field in fields(ModelSpec)}

Values = Mapping[str, Any]


def refuse_impossible(nuisance: Mapping[str, Any], *, taken: Mapping[str, Collection[str]]) -> None:
    """Raises ValueError for a nuisance axis that is none, or has no list of values.

    taken: part of the space → the settings that it gives values to, for all cells alike.
    """
    for name, values in nuisance.items():
        if name == "seed":
            raise ValueError(f"{PART}: seed is not a nuisance axis; use --seeds")
        if name not in FROZEN_DEFAULTS:
            raise ValueError(f"{PART}: {unknown_setting(name, TRAINING, of='training')}")
        if name not in TRAINING:
            what = "the model" if name in _MODEL else "the budget, the text or the scores"
            raise ValueError(
                f"{PART}: {name} is a setting of {what}; a nuisance axis must be one of training, "
                f"such as learning_rate_factor; put {name} in AXES or FIXED"
            )
        for part, names in taken.items():
            if name in names:
                raise ValueError(f"{PART}: {name} is in {part} as well; keep it in one of them")
        if not isinstance(values, (list, tuple)) or not values:
            raise ValueError(
                f"{PART}: {name} is {values!r}; it must be a list of values, for example "
                f'{PART} = {{"learning_rate_factor": [0.5, 1, 2]}}'
            )


def combinations(nuisance: Mapping[str, Sequence[Any]]) -> list[Values]:
    """Every combination of the nuisance values; one, which is empty, if there are no axes."""
    return [
        dict(zip(nuisance, each, strict=True)) for each in itertools.product(*nuisance.values())
    ]


def baseline_first(found: Sequence[Values], own: Values) -> list[Values]:
    """The combinations, with the one that the baseline has of itself in front.

    own: the baseline's settings without NUISANCE, by name.

    Raises ValueError if they lack one of the baseline's own values: the stopping rules compare
    with it, and a baseline with more values to choose from than the others would have an advantage.
    """
    for name in found[0]:
        values = {repr(canonical(one[name])): one[name] for one in found}
        if repr(canonical(own[name])) not in values:
            listed = ", ".join(describe_value(name, value) for value in values.values())
            raise ValueError(
                f"{PART}: {name} is {listed}, but the baseline has "
                f"{describe_value(name, own[name])}, which is not among them; add it, or set "
                f'BASELINE = {{"{name}": {next(iter(values.values()))!r}}}'
            )
    mine = {name: canonical(own[name]) for name in found[0]}
    return sorted(found, key=lambda one: {name: canonical(one[name]) for name in one} != mine)


def nuisance_text(values: Values, axes: Sequence[str]) -> str:
    """The nuisance values of a cell in words: `learning rate factor 2, weight decay 0.1`."""
    return ", ".join(f"{axis_name(axis)} {describe_value(axis, values.get(axis))}" for axis in axes)
