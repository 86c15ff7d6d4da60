"""One reader for every file of settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tune_app.cloud.settings_reader import load_json


@dataclass(frozen=True, kw_only=True)
class Inner:
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"seconds is {self.seconds}; it must be over 0")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    count: int = 1
    models: tuple[str, ...] = ()
    limits: Mapping[str, float] | None = None
    inner: Inner = field(default_factory=Inner)
    by_name: Mapping[str, Inner] = field(default_factory=dict)


def read(folder: Path, values: Any) -> Outer:
    path = folder / "settings.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), "utf-8")
    return load_json(Outer, path)


def test_values_of_every_kind(tmp_path: Path) -> None:
    assert read(tmp_path, {"name": "a"}) == Outer(name="a")
    assert read(tmp_path, {"name": "a", "limits": None}).limits is None
    values = {
        "name": "a",
        "models": ["x", "y"],
        "limits": {"call": 2},
        "inner": {"seconds": 3},
        "by_name": {"first": {"seconds": 0.5}},
    }
    assert read(tmp_path, values) == Outer(
        name="a",
        models=("x", "y"),
        limits={"call": 2.0},
        inner=Inner(seconds=3.0),
        by_name={"first": Inner(seconds=0.5)},
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{", "settings.json is not JSON"),
        ([], "the file is []; an object is expected"),
        ({}, "missing: name"),
        (
            {"name": "a", "nme": 1},
            "unknown setting 'nme'; did you mean name? expected one of by_name, count, inner",
        ),
        ({"name": "a", "count": 1.5}, "count is 1.5; a whole number is expected"),
        ({"name": "a", "count": True}, "count is True; a whole number is expected"),
        ({"name": "a", "models": "x"}, "models is 'x'; a list is expected"),
        ({"name": "a", "inner": {"second": 1}}, "unknown setting 'second' in inner"),
        ({"name": "a", "by_name": {"x": {"seconds": "1"}}}, "by_name.x.seconds is '1'; a number"),
        ({"name": "a", "inner": {"seconds": 0}}, "inner.seconds is 0.0; it must be over 0"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, values: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r"settings\.json") as caught:
        read(tmp_path, values)
    assert said in str(caught.value)
