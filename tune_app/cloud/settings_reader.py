"""The one reader of settings: from a JSON file, or a section of YAML, into a frozen dataclass.

A dataclass says each setting's name, type and default, and in `__post_init__` its limits. pydantic
does the reading; what it finds wrong is said here as a user would say it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from data.suggestions import did_you_mean

EXPECTED: Mapping[str, str] = {
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "a text",
    "path_type": "a path",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "an object",
    "dataclass_type": "an object",
}
"""By pydantic's names of errors."""
_TOP = "settings"
"""Where the adapter holds what is read: only inside something else may it be told to be strict."""

Settings = TypeVar("Settings")


def load_json(kind: type[Settings], path: Path) -> Settings:
    """Settings from a JSON file. Raises ValueError naming the file and the place in it."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    try:
        return read(kind, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def to_json(settings: Any) -> str:
    """The text from which `load_json` reads the same settings, every default with them."""
    return json.dumps(dataclasses.asdict(settings), indent=2, default=str)


def read(
    kind: type[Settings], values: object, where: str = "", *, beside: Collection[str] = ()
) -> Settings:
    """Settings from plain values, as JSON and YAML have them.

    Args:
        kind: a dataclass of texts, paths, numbers, true or false, tuples, mappings, and dataclasses
            of these; each may be optional.
        where: the place of `values`, such as provider.head, for messages.
        beside: names that may stand there too, and are for other readers.

    Raises ValueError naming all that is wrong, each with its place and what is expected there.
    """
    if isinstance(values, Mapping):
        values = {name: value for name, value in values.items() if name not in beside}
    record: Any = kind
    try:
        made = _adapter(record).validate_json(json.dumps({_TOP: values}, default=str))[_TOP]
    except ValidationError as error:
        raise ValueError(_said(kind, error.errors(include_url=False), where, beside)) from None
    assert isinstance(made, kind)
    return made


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[dict[str, Any]]:
    # Dataclasses take the configuration of what they are in.
    return TypeAdapter(dict[str, kind], config=ConfigDict(extra="forbid", strict=True))


def _said(kind: type, errors: Sequence[ErrorDetails], where: str, beside: Collection[str]) -> str:
    missing: dict[str, list[str]] = {}
    said = []
    for error in errors:
        # The first is _TOP.
        _, *place = error["loc"]
        names = [str(name) for name in place]
        if error["type"] == "missing":
            missing.setdefault(_path(where, names[:-1]), []).append(names[-1])
        elif error["type"] == "unexpected_keyword_argument":
            known = [item.name for item in dataclasses.fields(_record_at(kind, place[:-1]))]
            if len(place) == 1:
                known += beside
            said.append(_unknown(names[-1], known, _path(where, names[:-1])))
        elif error["type"] == "value_error":
            reason = str(error["ctx"]["error"])
            said.append(_at(_path(where, names), reason, _record_at(kind, place)))
        else:
            expected = EXPECTED.get(error["type"], error["msg"])
            found = _path(where, names) or "the file"
            said.append(f"{found} is {repr(error['input'])[:80]}; {expected} is expected")
    for path, names in missing.items():
        said.append(f"missing{f' in {path}' if path else ''}: {', '.join(names)}")
    return ". Also: ".join(said)


def _unknown(name: str, known: Sequence[str], path: str) -> str:
    return (
        f"unknown setting {name[:80]!r}{f' in {path}' if path else ''}; "
        f"{did_you_mean(name, known)}expected one of {', '.join(sorted(known))}"
    )


def _at(path: str, reason: str, record: type) -> str:
    """A record's own complaint, with its place: `path.name is …` where it begins with a name."""
    if not path:
        return reason
    own = reason.split(" is ", 1)[0] in {item.name for item in dataclasses.fields(record)}
    return f"{path}.{reason}" if own else f"{path}: {reason}"


def _path(where: str, names: Sequence[str]) -> str:
    return ".".join([*([where] if where else []), *names])


def _record_at(kind: Any, place: Sequence[int | str]) -> Any:
    """The dataclass at a place inside another."""
    if not place:
        return kind
    name, *rest = place
    if dataclasses.is_dataclass(kind):
        inner = typing.get_type_hints(kind)[str(name)]
    else:  # tuple[X, ...] and Mapping[str, X]
        arguments = typing.get_args(kind)
        inner = arguments[0] if typing.get_origin(kind) is tuple else arguments[1]
    if typing.get_origin(inner) in {types.UnionType, typing.Union}:
        (inner,) = (one for one in typing.get_args(inner) if one is not types.NoneType)
    return _record_at(inner, rest)
