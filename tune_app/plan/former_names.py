"""Names that settings and sizes had in older versions, for old journals, checkpoints and spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SETTINGS: Mapping[str, str] = {
    "vocabulary": "vocab_size",
    "output_head": "embedding",
    "heads": "n_heads",
}
"""Of a cell, old → new."""

SIZES: Mapping[str, str] = {
    **SETTINGS,
    "width": "d_model",
    "depth": "n_layers",
    "head_size": "head_dim",
    "inner_width": "d_ff",
}
"""Of a solved model, old → new."""


def renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The values under their new names, in their order; those under new names stay."""
    return {names.get(name, name): value for name, value in values.items()}
