"""What each setting of a cell means, as the docstrings of its field say it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import docstring_parser

from model.spec import ModelSpec
from model.training.settings import TrainingSettings
from tune_app.plan.cell import TrialSettings

_OTHERS: Mapping[str, str] = {
    "tokenizer": "Kind of the tokenizer: byte_level_bpe, superbpe or imported.",
    "tokenizer_options": "The tokenizer's other settings, by name, as in "
    '{"transition": 0.8} for superbpe or {"file": "tokenizer.json"} for an imported one.',
    "seed": "Seed of the weights and of the order of the training text.",
}

UNITS: Mapping[str, str] = {
    "target_parameters": "parameters",
    "vocab_size": "tokens",
    "context": "tokens",
    "tokens": "baseline tokens",
    "warmup_tokens": "baseline tokens",
    "batch_size": "sequences",
    "evaluation_bytes": "bytes",
}
"""Units of the settings that have one."""


@cache
def meanings() -> Mapping[str, str]:
    """A sentence for each setting of a cell, by name. Reads the source of three classes."""
    kinds = (ModelSpec, TrainingSettings, TrialSettings)
    fields = {name: text for kind in kinds for name, text in meanings_of(kind).items()}
    return {**fields, **_OTHERS}


def meanings_of(kind: type[Any]) -> Mapping[str, str]:
    """The docstrings of the fields that a dataclass itself declares, each in one line."""
    return {
        parameter.arg_name: " ".join((parameter.description or "").replace("`", "").split())
        for parameter in docstring_parser.parse_from_object(kind).params
    }
