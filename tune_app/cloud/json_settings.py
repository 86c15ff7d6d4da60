"""Reads a JSON file into a frozen dataclass; unknown names and wrong types are refused."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

TYPE_NAMES: Mapping[Any, str] = {
    float: "a number",
    int: "a whole number",
    str: "a text",
    Path: "a path",
    bool: "true or false",
}

Settings = TypeVar("Settings")


def load_json(kind: type[Settings], path: Path) -> Settings:
    """Settings from a JSON file. Raises ValueError naming the file and the place in it.

    Args:
        kind: a dataclass of texts, numbers, true or false, tuples, mappings, and dataclasses of
            these; each may be optional.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    try:
        settings = _record(kind, values, "")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    assert isinstance(settings, kind)
    return settings


def _value(kind: Any, value: Any, where: str) -> Any:
    """A value of a type, out of JSON."""
    origin = typing.get_origin(kind)
    if is_dataclass(kind):
        made = _record(kind, value, where)
    elif origin in {types.UnionType, typing.Union}:
        (inner,) = (one for one in typing.get_args(kind) if one is not types.NoneType)
        made = None if value is None else _value(inner, value, where)
    elif origin is not None and issubclass(origin, Mapping):
        inner, given = typing.get_args(kind)[1], _object(value, where)
        made = {name: _value(inner, item, f"{where}.{name}") for name, item in given.items()}
    elif origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} is {_short(value)}; a list is expected")
        made = tuple(_value(typing.get_args(kind)[0], item, where) for item in value)
    elif kind is float and type(value) is int:
        made = float(value)
    elif type(value) is kind:
        made = value
    else:
        raise ValueError(f"{where} is {_short(value)}; {TYPE_NAMES[kind]} is expected")
    return made


def _record(kind: Any, value: Any, where: str) -> Any:
    hints, given = typing.get_type_hints(kind), _object(value, where)
    inside = f" in {where}" if where else ""
    for name in given:
        if name not in hints:
            raise ValueError(
                f"unknown setting {name[:80]!r}{inside}; expected one of {', '.join(sorted(hints))}"
            )
    missing = [
        item.name
        for item in fields(kind)
        if item.default is MISSING and item.default_factory is MISSING and item.name not in given
    ]
    if missing:
        raise ValueError(f"missing{inside}: {', '.join(missing)}")
    prefix = f"{where}." if where else ""
    made = {name: _value(hints[name], item, f"{prefix}{name}") for name, item in given.items()}
    try:
        return kind(**made)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the file'} is {_short(value)}; an object is expected")
    return value


def _short(value: Any) -> str:
    return repr(value)[:80]
