"""A conditional space: parameters with their values, some of them only beside values of others.

    SEARCH = {
        "feed_forward": ["swiglu", "geglu", "moe"],
        "glu_expansion": FloatDistribution(1.5, 5.0),
        ("tokenizer", "tokenizer_options"): [("byte_level_bpe", {}), ("superbpe", {})],
    }
    WHEN = {"feed_forward": {"moe": {"n_experts": [4, 8], "top_k": [1, 2]}}}

`n_experts` exists only in designs whose feed-forward is `moe`. A condition may name a setting that
is itself conditional, and several values in a tuple. The same setting may stand in several branches
of one condition, with other values in each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from data.suggestions import did_you_mean
from model.parts.variants import VARIANTS
from model.spec import BUDGETS
from model.training.settings import CHOICES
from tune_app.plan import paired
from tune_app.plan.cell import value_as_meant
from tune_app.plan.identity import FROZEN_DEFAULTS, canonical, unknown_setting
from tune_app.plan.plain import plain
from tune_app.plan.tokenizer import KIND, OPTIONS, SIZE

SEARCH, WHEN = "SEARCH", "WHEN"
"""The names of a space file that hold parameters and conditions."""

_SHARED = ("corpus", "tokens", "evaluations", "evaluation_bytes", "sample", "seed")
"""Settings that all cells of a sweep share."""
_NAMES: Mapping[str, tuple[str, ...]] = {
    **{name: tuple(known) for name, known in VARIANTS.items()},
    **CHOICES,
    "budget": BUDGETS,
}
"""Settings that are one of a few names, and these names."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A setting and the values beside which a parameter exists."""

    setting: str
    values: tuple[Any, ...]

    def holds(self, settings: Mapping[str, Any]) -> bool:
        return self.setting in settings and text_of(settings[self.setting]) in set(
            map(text_of, self.values)
        )

    def __str__(self) -> str:
        return f"{self.setting} = {' or '.join(map(str, self.values))}"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What a sampler chooses: a value of one setting, or a row of values of several."""

    settings: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...] = ()
    """The choices, a value for each of the settings; empty for a distribution."""
    distribution: Any = None
    """An Optuna distribution of one setting."""
    condition: Condition | None = None
    """None: it is in every design."""

    @property
    def name(self) -> str:
        """Unique in its space: `n_experts | feed_forward = moe`."""
        own = ", ".join(self.settings)
        return own if self.condition is None else f"{own} | {self.condition}"

    @property
    def choices(self) -> list[str]:
        """The rows as texts, since Optuna's choices must be scalars."""
        return [text_of(row) for row in self.rows]

    def applies(self, settings: Mapping[str, Any]) -> bool:
        return self.condition is None or self.condition.holds(settings)

    def settings_of(self, choice: Any) -> dict[str, Any]:
        """The settings that a choice, a text of `choices` or a drawn value, stands for."""
        if self.distribution is not None:
            return {self.settings[0]: value_as_meant(self.settings[0], choice)}
        return dict(zip(self.settings, self.rows[self.choices.index(choice)], strict=True))

    def choice_of(self, settings: Mapping[str, Any]) -> Any:
        """The inverse of `settings_of`; None if the settings are none of its choices."""
        values = [settings.get(name) for name in self.settings]
        if self.distribution is not None:
            return values[0]
        text = text_of(values)
        return text if text in self.choices else None

    def __str__(self) -> str:
        values = [row if len(row) > 1 else row[0] for row in self.rows]
        return str(self.distribution) if self.distribution is not None else str(values)


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Parameters in an order in which conditions come after what they name.

    `search_space` makes one from what a space file says.
    """

    parameters: tuple[Parameter, ...]

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """Every setting that it may set, each once."""
        return tuple(dict.fromkeys(name for one in self.parameters for name in one.settings))

    @property
    def axes(self) -> dict[str, Any]:
        """Each setting with all its values, or with its distribution."""
        found: dict[str, Any] = {}
        for one in self.parameters:
            if one.distribution is not None:
                found.setdefault(one.settings[0], one.distribution)
                continue
            for at, name in enumerate(one.settings):
                known = found.setdefault(name, [])
                if isinstance(known, list):
                    known += [row[at] for row in one.rows if row[at] not in known]
        return found

    def chosen(self, choose: Callable[[Parameter], Any]) -> dict[str, Any]:
        """A design's settings: each parameter that applies is chosen, in order.

        choose: returns one of `choices`, or a value of the parameter's distribution.
        """
        settings: dict[str, Any] = {}
        for one in self.parameters:
            if one.applies(settings):
                settings |= one.settings_of(choose(one))
        return settings

    def choices_of(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """The choice of each parameter that applies, by its name, for a design's settings.

        None if the design is no point of this space, as when the space was changed since.
        """
        found: dict[str, Any] = {}
        named: set[str] = set()
        for one in self.parameters:
            if not one.applies(settings):
                continue
            choice = one.choice_of(settings)
            if choice is None or not set(one.settings) <= settings.keys():
                return None
            found[one.name] = choice
            named |= set(one.settings)
        return found if named == settings.keys() else None

    def as_dict(self) -> dict[str, str]:
        """The parameters in words by their names, for the journal."""
        return {one.name: str(one) for one in self.parameters}

    @property
    def tokenizers(self) -> list[dict[str, Any]]:
        """Every combination of the settings of a tokenizer that a design may have, perhaps more."""
        found: list[dict[str, Any]] = [{}]
        for one in self.parameters:
            at = [index for index, name in enumerate(one.settings) if name in (KIND, SIZE, OPTIONS)]
            if not at:
                continue
            rows = [{one.settings[index]: row[index] for index in at} for row in one.rows]
            without = [] if one.condition is None else found
            found = [*without, *({**earlier, **row} for earlier in found for row in rows)]
        return list({text_of(values): values for values in found}.values())


def search_space(search: Any, when: Any) -> SearchSpace:
    """The space that a file's SEARCH and WHEN stand for.

    Raises ValueError for an unknown setting, impossible values, a condition on a setting or a value
    that no parameter has, conditions in a circle, or a setting that two parameters may set at once.
    """
    if not isinstance(search, Mapping) or not search:
        raise ValueError(f"{SEARCH} is {search!r}; it must map settings to lists of values")
    found = [_parameter(key, values, None) for key, values in search.items()]
    found += _conditional(when)
    ordered = _ordered(found)
    _refuse_collisions(ordered)
    return SearchSpace(parameters=tuple(ordered))


def _conditional(when: Any) -> Iterator[Parameter]:
    if not isinstance(when, Mapping):
        raise ValueError(f"{WHEN} is {when!r}; {_WHEN_FORM}")
    for setting, branches in when.items():
        if not isinstance(setting, str) or not isinstance(branches, Mapping):
            raise ValueError(f"{WHEN} of {setting!r} is {branches!r}; {_WHEN_FORM}")
        for values, parameters in branches.items():
            if not isinstance(parameters, Mapping) or not parameters:
                raise ValueError(f"{setting} {values!r} of {WHEN} is {parameters!r}; {_WHEN_FORM}")
            several = values if isinstance(values, tuple) else (values,)
            meant = tuple(value_as_meant(setting, value) for value in several)
            condition = Condition(setting=setting, values=meant)
            for key, choices in parameters.items():
                yield _parameter(key, choices, condition)


_WHEN_FORM = (
    "it must map a setting to its values, and each value to parameters, as in "
    '{"feed_forward": {"moe": {"n_experts": [4, 8]}}}'
)


def _parameter(key: Any, values: Any, condition: Condition | None) -> Parameter:
    names = key if isinstance(key, tuple) else (key,)
    if isinstance(key, tuple):
        paired.refuse_impossible({key: values})
    for name in names:
        _refuse_name(name)
    if is_distribution(values):
        (name,) = names
        if name in (KIND, SIZE, OPTIONS):
            raise ValueError(
                f"{name} is a distribution; a tokenizer is made before the first cell is trained, "
                "so list the values, as in [4_000, 8_000]"
            )
        return Parameter(settings=names, distribution=values, condition=condition)
    listed = plain(list(values) if isinstance(values, range) else values)
    if not isinstance(listed, (list, tuple)) or not listed:
        raise ValueError(
            f"{', '.join(names)} is {values!r}; it must be a list of values, or a distribution "
            "from optuna.distributions"
        )
    rows = [tuple(row) if isinstance(key, tuple) else (row,) for row in listed]
    meant = tuple(
        tuple(value_as_meant(name, value) for name, value in zip(names, row, strict=True))
        for row in rows
    )
    for row in meant:
        for name, value in zip(names, row, strict=True):
            _refuse_value(name, value)
        if [text_of(other) for other in meant].count(text_of(row)) > 1:
            raise ValueError(f"{', '.join(names)} has {row[0]!r} twice; each value counts once")
    return Parameter(settings=names, rows=meant, condition=condition)


def _refuse_name(name: Any) -> None:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name of a setting; it must be a text")
    if name in _SHARED:
        remedy = "use --seeds" if name == "seed" else "set it in FIXED"
        raise ValueError(f"{name} is the same for all cells of a sweep; {remedy}")
    if name not in FROZEN_DEFAULTS:
        raise ValueError(unknown_setting(name, [*FROZEN_DEFAULTS]))


def _refuse_value(name: str, value: Any) -> None:
    known = _NAMES.get(name)
    if known is not None and value not in known:
        hint = did_you_mean(str(value), known)
        raise ValueError(f"{name} is {value!r}; {hint}known: {', '.join(known)}")


def _ordered(parameters: list[Parameter]) -> list[Parameter]:
    """The parameters with those that a condition names before it. Raises ValueError if a condition
    names nothing, a value that nothing has, or if conditions go in a circle."""
    _refuse_conditions(parameters)
    placed: list[Parameter] = []
    left = list(parameters)
    while left:
        waiting = {name for one in left for name in one.settings}
        ready = [
            one for one in left if one.condition is None or one.condition.setting not in waiting
        ]
        if not ready:
            circle = ", ".join(one.name for one in left)
            raise ValueError(f"the conditions of {WHEN} go in a circle: {circle}")
        placed += ready
        left = [one for one in left if one not in ready]
    return placed


def _refuse_conditions(parameters: list[Parameter]) -> None:
    settings = list(dict.fromkeys(name for one in parameters for name in one.settings))
    for one in parameters:
        condition = one.condition
        if condition is None:
            continue
        if condition.setting not in settings:
            hint = did_you_mean(condition.setting, settings)
            raise ValueError(
                f"{WHEN} has a condition on {condition.setting!r}, which is no parameter; "
                f"{hint}the parameters are {', '.join(settings)}"
            )
        of = [other for other in parameters if condition.setting in other.settings]
        if any(other.distribution is not None for other in of):
            raise ValueError(
                f"{WHEN} has a condition on {condition.setting}, which is a distribution; only a "
                "listed value can be one"
            )
        values = [
            row[other.settings.index(condition.setting)] for other in of for row in other.rows
        ]
        for value in condition.values:
            if text_of(value) not in map(text_of, values):
                hint = did_you_mean(str(value), map(str, values))
                raise ValueError(
                    f"{WHEN} has a condition on {condition.setting} {value!r}, which is not among "
                    f"its values; {hint}they are {', '.join(map(str, values))}"
                )


def _refuse_collisions(parameters: list[Parameter]) -> None:
    """Raises ValueError if two parameters may set the same setting in one design."""
    for at, one in enumerate(parameters):
        for other in parameters[:at]:
            both = set(one.settings) & set(other.settings)
            if both and not _exclude_each_other(one.condition, other.condition):
                raise ValueError(
                    f"{min(both)} is in two parameters that one design may have, {other.name!r} "
                    f"and {one.name!r}; keep it in one, or under different values of one setting"
                )


def _exclude_each_other(one: Condition | None, other: Condition | None) -> bool:
    if one is None or other is None or one.setting != other.setting:
        return False
    return not set(map(text_of, one.values)) & set(map(text_of, other.values))


def is_distribution(values: Any) -> bool:
    """Whether an axis is an Optuna distribution, checked without importing Optuna."""
    return any(
        base.__module__ == "optuna.distributions" and base.__name__ == "BaseDistribution"
        for base in type(values).__mro__
    )


def text_of(value: Any) -> str:
    """The same text for values that mean the same, as 3 and 3.0."""
    return json.dumps(canonical(value), sort_keys=True)
