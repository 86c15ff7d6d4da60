"""Settings that follow from another one: where cells differ in both, only that one is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model.training.settings import USUAL_PARAMETRIZATIONS

_FOLLOWED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "parametrization": lambda values: USUAL_PARAMETRIZATIONS.get(values.get("optimizer", "adamw")),
}
"""By name, from a cell's values."""


def follows(name: str, cells: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every one of these cells has the value that its other settings give it."""
    usual = _FOLLOWED.get(name)
    return usual is not None and all(values.get(name) == usual(values) for values in cells)
