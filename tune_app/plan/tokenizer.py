"""The tokenizer among a cell's plain values: `tokenizer`, `vocab_size` and `tokenizer_options`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.tokenizers.spec import DEFAULT_KIND, TokenizerSpec

KIND, SIZE, OPTIONS = "tokenizer", "vocab_size", "tokenizer_options"

TOKENIZER_FIELDS = (KIND, OPTIONS)
"""What a cell and its baseline say of a tokenizer beside its size, which is the model's too."""


def tokenizer_of(values: Mapping[str, Any]) -> TokenizerSpec:
    """The tokenizer of a cell's values, or of its baseline's.

    Records that are older than a setting lack it, and mean its default. Raises ValueError for a
    tokenizer that there is not.
    """
    return TokenizerSpec(
        kind=values.get(KIND, DEFAULT_KIND),
        vocab_size=values[SIZE],
        options=values.get(OPTIONS) or {},
    )


def tokenizer_values(tokenizer: TokenizerSpec) -> dict[str, Any]:
    """The values of a cell that name its tokenizer, without the size."""
    return {KIND: tokenizer.kind, OPTIONS: dict(tokenizer.options)}
