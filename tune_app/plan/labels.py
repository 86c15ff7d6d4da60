"""Display names of axes, values and cells, and the order of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_AXIS_NAMES = {
    "embedding_ratio": "embedding share",
    "glu_expansion": "expansion",
    "feed_forward": "feed-forward",
}

_SELF_EXPLANATORY = ("embedding_ratio", "glu_expansion")
"""Axes whose numbers are clear without the axis name."""


def axis_name(axis: str) -> str:
    """An axis as people read it: embedding share, feed-forward."""
    return _AXIS_NAMES.get(axis, axis.replace("_", " "))


def describe(values: Mapping[str, Any], axes: Sequence[str]) -> str:
    """A short label of a cell or a design: `25% × 2.66 × learning_rate 0.004 × seed 1`."""
    return " × ".join(_named_value(axis, values.get(axis)) for axis in axes)


def describe_value(axis: str, value: Any) -> str:
    """A value on an axis as people read it: 25%, 2.66, untied, free."""
    if value is None:
        return "free"
    if isinstance(value, Mapping):
        return _describe_mapping(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if axis == "embedding_ratio":
        return f"{100 * value:.4g}%"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _describe_mapping(value: Mapping[str, Any]) -> str:
    """A mapping as short text, a file by its name: tokenizer.json, `levels=2 lower=True`."""
    parts = [
        Path(str(item)).name if name == "file" else f"{name}={item}"
        for name, item in value.items()
        if name != "sha256" or "file" not in value
    ]
    return " ".join(parts) or "none"


def ordered(values: Sequence[Any]) -> list[Any]:
    """Each value once: numbers ascending, anything else in order of first appearance."""
    unique = list({repr(value): value for value in values}.values())
    return sorted(unique) if all(map(is_number, unique)) else unique


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _named_value(axis: str, value: Any) -> str:
    """Names and mappings are clear alone; numbers, flags, lists and `free` need their axis."""
    if value is None:
        return f"{axis_name(axis)} free"
    text = describe_value(axis, value)
    return (
        text if axis in _SELF_EXPLANATORY or isinstance(value, (str, Mapping)) else f"{axis} {text}"
    )
