"""When two cells are the same: a hash of the values that differ from a frozen table of defaults.

Only values that differ from FROZEN_DEFAULTS are hashed. A new setting adds a line with its default
and changes no key. If the program's default changes later, the table stays as it is, so that cells
keep their keys and their meaning.

A value may be None, a scalar, a list or a mapping of such values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from data.suggestions import did_you_mean
from tune_app.plan.former_names import SIZES

IDENTITY_VERSION = 1
"""Part of every hash. A new version changes every key, so it needs a migration step of the journal
(tune_app/journal/schema.py)."""

_NOT_SET_BY_NAME = ("baseline", "seed")
"""Values of a cell that are set in other ways."""

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
    "embedding_rank": None,
    "context": 256,
    "tokenizer": "byte_level_bpe",
    "tokenizer_options": {},
    "n_kv_heads": None,
    "kv_share": None,
    "rotary_base": 10_000.0,
    "document_masking": False,
    "dropout": 0.0,
    "budget": "total",
    "n_experts": None,
    "top_k": None,
    "shared_experts": None,
    "balance_weight": None,
    "router_z_weight": None,
}
"""Defaults of the values that a cell and its baseline both have, as of their introduction."""

FROZEN_DEFAULTS: Mapping[str, Any] = {
    **MODEL_DEFAULTS,
    "corpus": "stdlib",
    "tokens": 5_000_000,
    "batch_size": 16,
    "learning_rate": 4e-3,
    "learning_rate_factor": 1.0,
    "embedding_rate": 1.0,
    "parametrization": "depth_mup",
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
    "sample": "first_documents",
    "seed": 0,
    "optimizer": "adamw",
    "muon_learning_rate": 0.02,
    "muon_momentum": 0.95,
    "gradient_accumulation": 1,
    "gradient_checkpointing": False,
    "warmup_tokens": 0,
    "mixture": None,
    "mixture_end": None,
    "mixture_anneal": 0.2,
    "mixture_surprise": 0.0,
    "curriculum": [],
}
"""Defaults of all settings as of their introduction. Add lines; never change or remove one."""

BASELINE = "baseline"
"""The one nested value: a model's values again, compared one by one with the same table."""

_KEY_LENGTH = 12


def key_of(values: Mapping[str, Any]) -> str:
    """A hash of a cell's values: equal for equal cells, on any machine.

    A missing value means its frozen default.
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
    """A recorded cell's values, with the frozen defaults of settings that were added since."""
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


def unknown_setting(name: str, known: Collection[str], *, of: str = "") -> str:
    """The error message for a name that is not a setting.

    of: what has the settings, as in `the kill rule`; empty for a cell.
    """
    told = f"unknown setting {name!r}" + (f" of {of}" if of else "")
    if SIZES.get(name) in known:
        return f"{told}; it is now called {SIZES[name]!r}"
    named = [one for one in known if one not in _NOT_SET_BY_NAME]
    hint = did_you_mean(str(name), named)
    return f"{told}; {hint}expected one of {', '.join(named) or 'none'}"


def _text(value: Any) -> str:
    # Compared as text, since True == 1 in Python.
    return json.dumps(canonical(value), sort_keys=True)
