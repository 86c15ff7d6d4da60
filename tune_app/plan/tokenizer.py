"""A cell's tokenizer as plain values: `tokenizer`, `vocab_size` and `tokenizer_options`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.tokenizers.spec import DEFAULT_KIND, TokenizerSpec

KIND, SIZE, OPTIONS = "tokenizer", "vocab_size", "tokenizer_options"

TOKENIZER_FIELDS = (KIND, OPTIONS)
"""The values that name a tokenizer, besides its size, which belongs to the model too."""


def tokenizer_of(values: Mapping[str, Any]) -> TokenizerSpec:
    """The tokenizer in the values of a cell, or of a baseline.

    Older records lack newer settings; a missing one means its default. Raises ValueError for an
    unknown tokenizer.
    """
    return TokenizerSpec(
        kind=values.get(KIND, DEFAULT_KIND),
        vocab_size=values[SIZE],
        options=values.get(OPTIONS) or {},
    )


def tokenizer_values(tokenizer: TokenizerSpec) -> dict[str, Any]:
    """A tokenizer as values of a cell, without its size."""
    return {KIND: tokenizer.kind, OPTIONS: dict(tokenizer.options)}
