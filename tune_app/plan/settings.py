"""Every setting of a cell with its default, its choices and its meaning, for people.

Read from the dataclasses that hold the settings, so that a new one appears by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from data.tokenizers.spec import DEFAULT_KIND
from data.tokenizers.spec import KINDS as TOKENIZERS
from model.field_types import described
from model.parts.variants import VARIANTS
from model.spec import BUDGETS, ModelSpec
from model.training.settings import CHOICES, TrainingSettings
from tune_app.plan.cell import SAMPLES, TrialSettings
from tune_app.plan.meanings import meanings, meanings_of
from tune_app.plan.tokenizer import KIND, OPTIONS

FREE = "free"
"""How people write None, a size that the solver chooses."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting by name."""

    name: str
    default: str
    """As it is written on the command line."""
    kind: str
    """What values it takes, in words."""
    meaning: str


@dataclass(frozen=True, kw_only=True)
class SettingsGroup:
    """Settings that belong together."""

    title: str
    settings: tuple[Setting, ...]


def cell_settings() -> tuple[SettingsGroup, ...]:
    """All settings of a cell but its seed."""
    tokenizer = (
        Setting(
            name=KIND,
            default=DEFAULT_KIND,
            kind=_one_of(tuple(TOKENIZERS)),
            meaning=meanings()[KIND],
        ),
        Setting(
            name=OPTIONS,
            default="{}",
            kind="a mapping of names, as JSON",
            meaning=meanings()[OPTIONS],
        ),
    )
    variants = {name: tuple(known) for name, known in VARIANTS.items()} | {"budget": BUDGETS}
    return (
        SettingsGroup(title="Model", settings=settings_of(ModelSpec, variants)),
        SettingsGroup(title="Tokenizer", settings=tokenizer),
        SettingsGroup(title="Training", settings=settings_of(TrainingSettings, CHOICES)),
        SettingsGroup(title="Evaluation", settings=settings_of(TrialSettings, {"sample": SAMPLES})),
    )


def settings_of(
    owner: type[Any], choices: Mapping[str, Sequence[str]] | None = None
) -> tuple[Setting, ...]:
    """The settings that a dataclass itself declares, without those of its bases."""
    hints, texts, known = get_type_hints(owner), meanings_of(owner), choices or {}
    return tuple(
        Setting(
            name=field.name,
            default=_written(field.default),
            kind=_one_of(known[field.name])
            if field.name in known
            else described(hints[field.name]).replace("none", FREE),
            meaning=texts.get(field.name, ""),
        )
        for field in fields(owner)
        if field.name in owner.__annotations__
    )


def settings_with_bases(owner: type[Any]) -> tuple[Setting, ...]:
    """The settings of a dataclass and of its bases, those of the bases first."""
    owners = [one for one in reversed(owner.__mro__) if is_dataclass(one)]
    return tuple(setting for one in owners for setting in settings_of(one))


def _one_of(choices: Sequence[str]) -> str:
    return ", ".join(choices[:-1]) + f" or {choices[-1]}" if len(choices) > 1 else choices[0]


def _written(default: Any) -> str:
    """A default as it is written after `--set name=`."""
    if default is None:
        return FREE
    if default is MISSING:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return str(list(default)) if isinstance(default, tuple) else str(default)
