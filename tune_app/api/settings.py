"""From Python's arguments to the same settings that the command line makes: Space, Wishes, options.

There is no second list of options: names, defaults and types are those of the dataclasses.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from model.field_types import settled
from tune_app.cluster.options import RunOptions
from tune_app.plan import identity
from tune_app.plan.meanings import meanings
from tune_app.plan.plain import plain
from tune_app.plan.space import Space, space_from
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Wishes

T = TypeVar("T", Wishes, RunOptions)
F = TypeVar("F", bound=Callable[..., Any])

_PAIRS = ("set", "scheduler_set", "sampler_set", "mix")
"""Wishes that are pairs of names and values; in Python a mapping is natural."""


def names_of(kind: type[Wishes] | type[RunOptions]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def space_of(space: str | Path | Mapping[str, Any] | Space, *, name: str | None) -> Space:
    """A space by its name or path, or made from values.

    Args:
        space: a name, the path of a .py file, axes (`{"glu_expansion": [2.0, 4.0]}`), or the names
            that a space file defines (`{"AXES": …, "FIXED": …}`).
        name: of the sweep, which names a space that is given as values.

    Raises SpaceError if there is no such space or if it is invalid.
    """
    if isinstance(space, Space):
        return space
    if isinstance(space, (str, Path)):
        return load_space(str(space))
    if not isinstance(space, Mapping):
        raise ValueError(
            f"the space is {space!r}; it must be a name, the path of a .py file, or axes with "
            "their values"
        )
    if name is None:
        raise ValueError(
            "a sweep whose space is given as values needs a name for its folder: name='mine'"
        )
    as_in_a_file = any(isinstance(key, str) and key.isupper() for key in space)
    return space_from(space if as_in_a_file else {"AXES": space}, name=name, source="the space")


def settings_of(kind: type[T], settings: Mapping[str, Any]) -> T:
    """The dataclass `kind` with these settings. Raises ValueError for one that cannot be."""
    given = {}
    for name, value in settings.items():
        one = plain(list(value) if isinstance(value, range) else value)
        pairs = name in _PAIRS and isinstance(one, Mapping)
        given[name] = tuple(one.items()) if pairs else one
    return kind(**settled(kind, given))


def refuse_unknown(settings: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raises ValueError for a name that is not among the known ones."""
    for name in settings:
        if name in known:
            continue
        if name in meanings():
            raise ValueError(
                f"{name} is a setting of the cells; give it as set={{{name!r}: {settings[name]!r}}}"
            )
        raise ValueError(identity.unknown_setting(name, known))


def takes(*kinds: type[Wishes] | type[RunOptions]) -> Callable[[F], F]:
    """Shows the settings of these dataclasses as keywords of a function with `**settings`.

    Help, completion and Jupyter's tooltips read the signature; mypy does not.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        keywords = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
            )
            for kind in kinds
            for field in fields(kind)
        ]
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *keywords]
        )
        return function

    return decorate
