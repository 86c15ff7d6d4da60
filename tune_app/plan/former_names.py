"""Old names of settings, sizes and cells, for reading journals and checkpoints of old versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

SETTINGS: Mapping[str, str] = {
    "vocabulary": "vocab_size",
    "output_head": "embedding",
    "heads": "n_heads",
}
"""Settings of a cell, old → new."""

SIZES: Mapping[str, str] = {
    **SETTINGS,
    "width": "d_model",
    "depth": "n_layers",
    "head_size": "head_dim",
    "inner_width": "d_ff",
}
"""Sizes of a solved model, old → new."""


def renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The values under their new names, in the same order; new names stay as they are."""
    return {names.get(name, name): value for name, value in values.items()}


def former_key(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> str | None:
    """A cell's key before `identity` existed: a hash of every value that existed then.

    None if a newer setting differs from its default: those versions could not train such a cell.

    Args:
        values: all values of the cell, under today's names.
        defaults: the frozen ones (`identity.FROZEN_DEFAULTS`).
    """
    old = _first_values(values, defaults, _FIRST_OF_A_CELL)
    if old is None:
        return None
    baseline = _first_values(values["baseline"], defaults, _FIRST_OF_A_MODEL)
    if baseline is None:
        return None
    text = json.dumps({**old, "baseline": baseline}, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_FIRST_OF_A_MODEL = (
    *("target_parameters", "vocab_size", "embedding_ratio", "glu_expansion", "embedding"),
    *("attention", "feed_forward", "n_heads", "context"),
)
_FIRST_OF_A_CELL = (
    *_FIRST_OF_A_MODEL,
    *("corpus", "tokens", "batch_size", "learning_rate", "schedule", "warmup_fraction"),
    *("weight_decay", "gradient_clip", "precision", "compile", "deterministic"),
    *("evaluations", "evaluation_bytes", "seed"),
)


def _first_values(
    values: Mapping[str, Any], defaults: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Any] | None:
    newer = {name: value for name, value in values.items() if name not in names}
    newer.pop("baseline", None)
    if any(json.dumps(value) != json.dumps(defaults[name]) for name, value in newer.items()):
        return None
    old_names = {new: old for old, new in SETTINGS.items()}
    return {old_names.get(name, name): values[name] for name in names}
