"""Display names of axes and of single values, and the order of values.

The names of a sweep's cells are in `cell_names.py`: they depend on all its cells.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.experts import EXPERT_SETTINGS
from tune_app.plan.data_settings import DESCRIBED

_AXIS_NAMES = {
    "embedding_ratio": "embedding share",
    "glu_expansion": "expansion",
    "feed_forward": "feed-forward",
    "n_heads": "heads",
    "n_kv_heads": "key-value heads",
    "kv_share": "key-value share",
    "n_layers": "layers",
    "vocab_size": "vocabulary",
    "target_parameters": "parameters",
    "d_model": "d_model",
    "d_ff": "d_ff",
    "head_dim": "head_dim",
}

SELF_EXPLANATORY = ("embedding_ratio", "glu_expansion")
"""Axes whose numbers are clear without the axis name."""


def axis_name(axis: str) -> str:
    """An axis as people read it: embedding share, feed-forward, learning rate."""
    return _AXIS_NAMES.get(axis, axis.replace("_", " "))


def describe_value(axis: str, value: Any) -> str:
    """A value on an axis as people read it, numbers to four digits: 25%, 2.66, untied, free."""
    if not is_number(value):
        return describe_other(value, axis)
    if axis == "embedding_ratio":
        return f"{100 * value:.4g}%"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def describe_other(value: Any, axis: str = "") -> str:
    """A value that is not a number, on one line: untied, free, tokenizer.json, levels=2."""
    if axis in DESCRIBED and (value is None or isinstance(value, (list, tuple))):
        return DESCRIBED[axis](value)
    if value is None:
        # A model without experts lacks their settings; other sizes are left to the solver.
        return "none" if axis in EXPERT_SETTINGS else "free"
    text = _describe_mapping(value) if isinstance(value, Mapping) else str(value)
    return " ".join(text.split())


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


def spans_decades(values: Sequence[Any]) -> bool:
    """Whether numbers are better shown on a logarithmic scale.

    They are if they span a factor of 20, or one of 4 with their median nearer to the middle on a
    logarithmic scale, as for doublings and for draws from a log-uniform distribution.
    """
    numbers = ordered(values)
    if len(numbers) < 2 or not all(map(is_number, numbers)) or not 0 < numbers[0] < numbers[-1]:
        return False
    low, high = float(numbers[0]), float(numbers[-1])
    if high == float("inf") or high / low < 4:
        return False
    if high / low >= 20:
        return True
    if len(numbers) < 3:
        return False
    middle = float(statistics.median(numbers))
    linear = (middle - low) / (high - low)
    logarithmic = math.log(middle / low) / math.log(high / low)
    return abs(logarithmic - 0.5) < abs(linear - 0.5)
