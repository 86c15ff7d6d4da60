"""What makes two cells the same: a hash of what differs from a frozen table of defaults.

Only values that differ from FROZEN_DEFAULTS are hashed. So a new setting adds a line with the
default that it is introduced with and changes no key, and a default of the program that changes
later does not touch the table: cells keep their keys and their meaning.

A value may be None, a scalar, a list or a mapping of such values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tune_app.plan.former_names import SIZES

IDENTITY_VERSION = 1
"""Part of every hash; a new one gives every cell a new key, so it needs a step of the journal's
migration (tune_app/journal/schema.py)."""

MODEL_DEFAULTS: Mapping[str, Any] = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "embedding_ratio": 0.35,
    "glu_expansion": 2.66,
    "embedding": "tied",
    "attention": "multi_head",
    "feed_forward": "swiglu",
    "norm": "rms_norm",
    "n_heads": 4,
    "d_model": None,
    "n_layers": None,
    "head_dim": None,
    "d_ff": None,
    "context": 256,
    "tokenizer": "byte_level_bpe",
    "tokenizer_options": {},
}
"""Of what a cell's model and its baseline both have, each when it was introduced."""

FROZEN_DEFAULTS: Mapping[str, Any] = {
    **MODEL_DEFAULTS,
    "corpus": "stdlib",
    "tokens": 5_000_000,
    "batch_size": 16,
    "learning_rate": 4e-3,
    "schedule": "cosine",
    "warmup_fraction": 0.05,
    "weight_decay": 0.1,
    "betas": [0.9, 0.95],
    "gradient_clip": 1.0,
    "precision": "auto",
    "compile": "auto",
    "deterministic": True,
    "evaluations": 20,
    "evaluation_bytes": 262_144,
    "seed": 0,
}
"""Of every setting, each when it was introduced. Lines are added, never changed or removed."""

BASELINE = "baseline"
"""The one value that is a cell's model again: compared value by value with the same table."""

_KEY_LENGTH = 12


def key_of(values: Mapping[str, Any]) -> str:
    """A hash of a cell's values: equal for equal cells, on any machine.

    What is left out stands for its frozen default.
    """
    identity = {"version": IDENTITY_VERSION, "values": differing(values)}
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


def differing(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from their frozen defaults, in canonical form."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == BASELINE:
            found[name] = differing(value)
            continue
        assert name in FROZEN_DEFAULTS, (
            f"the setting {name!r} has no line in tune_app.plan.identity.FROZEN_DEFAULTS"
        )
        if _text(value) != _text(FROZEN_DEFAULTS[name]):
            found[name] = canonical(value)
    return found


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded cell's values, with the frozen defaults of settings that are newer than it."""
    complete = {**FROZEN_DEFAULTS, **values}
    if BASELINE in values:
        complete[BASELINE] = {**MODEL_DEFAULTS, **values[BASELINE]}
    return complete


def canonical(value: Any) -> Any:
    """One form for values that mean the same: 3 for 3.0, a list for a tuple, sorted names."""
    if isinstance(value, Mapping):
        return {str(name): canonical(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def unknown_setting(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """What is said of a name that no setting has."""
    if SIZES.get(name) in known:
        return f"unknown setting {name!r}; it is now called {SIZES[name]!r}"
    return f"unknown setting {name!r}; expected one of {', '.join(known)}"


def _text(value: Any) -> str:
    # As text, so that True is not 1.
    return json.dumps(canonical(value), sort_keys=True)
