"""Checks the fields of a dataclass of settings against their annotations."""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_KINDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a name",
    bool: "true or false",
    types.NoneType: "none",
    Path: "a path",
}


class _MismatchError(Exception):
    """A value that does not fit its annotation."""


def require_types(values: Any) -> None:
    """Checks every field of a frozen dataclass against its annotation, and normalises its value.

    See `settled` for the annotations that are known, and for what is normalised.

    Raises ValueError naming the field, its value and what it must be.
    """
    kind = values.__class__
    given = {field.name: getattr(values, field.name) for field in fields(values)}
    for name, value in settled(kind, given).items():
        if value is not given[name]:
            object.__setattr__(values, name, value)


def settled(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of some fields of a dataclass, checked against their annotations and normalised.

    Annotations may be int, float, str, bool, Path, None, Literal, unions, lists, tuples and
    mappings of them. A whole number becomes a float where only a float is allowed, so that 3 and
    3.0 make equal objects; a list becomes a tuple, so that what is read from JSON equals what was
    written; text becomes a path.

    Raises ValueError naming the field, its value and what it must be.
    """
    hints = _hints(kind)
    checked = {}
    for name, value in given.items():
        try:
            checked[name] = _settled(value, hints[name])
        except _MismatchError:
            expected = described(hints[name])
            raise ValueError(f"{name} is {value!r}; it must be {expected}") from None
    return checked


@cache
def _hints(kind: Hashable) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _settled(value: Any, hint: Any) -> Any:
    """The value, normalised to its type. Raises _MismatchError if it does not fit."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_that_fits(value, arguments)
    if origin in (list, tuple, Sequence):
        return _settled_sequence(value, origin, arguments)
    if origin in (dict, Mapping):
        return _settled_mapping(value, arguments)
    if origin is Literal:
        fits = any(value == choice and type(value) is type(choice) for choice in arguments)
    elif hint is Path and isinstance(value, (str, Path)):
        value, fits = Path(value), True
    elif hint is float and type(value) is int:
        value, fits = float(value), True
    else:
        fits = hint is Any or type(value) is hint
    if not fits:
        raise _MismatchError
    return value


def _first_that_fits(value: Any, hints: Sequence[Any]) -> Any:
    """The value as a member of a union: its own type goes before one it would be converted to."""
    if type(value) in hints:
        return value
    for hint in hints:
        try:
            return _settled(value, hint)
        except _MismatchError:
            continue
    raise _MismatchError


def _settled_sequence(value: Any, origin: Any, arguments: Sequence[Any]) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _MismatchError
    if origin is not tuple or (len(arguments) == 2 and arguments[1] is Ellipsis):
        return tuple(_settled(item, arguments[0]) for item in value)
    if len(value) != len(arguments):
        raise _MismatchError
    return tuple(_settled(item, hint) for item, hint in zip(value, arguments, strict=True))


def _settled_mapping(value: Any, arguments: Sequence[Any]) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise _MismatchError
    names, items = arguments
    return {_settled(name, names): _settled(item, items) for name, item in value.items()}


def described(hint: Any) -> str:
    """An annotation in words: `a whole number or none`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(described(argument) for argument in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)}: {', '.join(map(described, arguments))}"
    if origin in (list, tuple, Sequence):
        return f"a list, each item {described(arguments[0])}"
    if origin in (dict, Mapping):
        return f"a mapping of names, each value {described(arguments[1])}"
    return _KINDS.get(hint, "anything" if hint is Any else str(hint))
