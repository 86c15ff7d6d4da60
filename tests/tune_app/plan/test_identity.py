"""Keys stay what they are: a changed one orphans every journal and every checkpoint."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from tune_app.plan import identity
from tune_app.plan.cell import Cell, TrialSettings
from tune_app.plan.identity import (
    FROZEN_DEFAULTS,
    MODEL_DEFAULTS,
    canonical,
    completed,
    differing,
    key_of,
)

SETTINGS = {field.name: FROZEN_DEFAULTS[field.name] for field in fields(TrialSettings)}
"""How a cell was trained where nothing else was said, when keys were introduced."""


NOW = {"learning_rate": 8e-3, "embedding_rate": 4.0, "sample": "stretches"}
"""Defaults of today that differ."""


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({}, "73ca4bc45ae4"),
        ({"embedding_ratio": 0.45, "glu_expansion": 4.0, "seed": 3}, "43e88ab0c264"),
        (
            {"embedding": "untied", "tokens": 150_000, "vocab_size": 4_096, "n_heads": 2},
            "af08196433f3",
        ),
        ({"baseline": {"n_heads": 2, "embedding_ratio": 0.25}}, "5607ef127149"),
        (
            {"learning_rate": 1e-2, "gradient_clip": float("inf"), "corpus": "wikitext-2"},
            "97cdf6d9ecae",
        ),
        ({"optimizer": "muon", "parametrization": "complete_p", **NOW}, "7545ede26c62"),
        ({"optimizer": "muon", "parametrization": "auto", **NOW}, "dc9e72e4084d"),
    ],
)
def test_keys_never_change(values: dict[str, Any], key: str) -> None:
    assert Cell.from_values({**SETTINGS, **values}).key == key


def test_every_setting_has_a_frozen_default() -> None:
    values = Cell.from_values({}).values()
    assert set(values) - {"baseline"} <= set(FROZEN_DEFAULTS)
    assert set(values["baseline"]) <= set(MODEL_DEFAULTS)
    with pytest.raises(AssertionError, match="'new_setting' has no line in"):
        key_of({"new_setting": 1})


def test_a_new_setting_at_its_default_changes_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    values = Cell.from_values({"embedding_ratio": 0.45}).values()
    before = key_of(values)
    monkeypatch.setattr(identity, "FROZEN_DEFAULTS", {**FROZEN_DEFAULTS, "ranks": None})
    assert key_of({**values, "ranks": None}) == before
    assert key_of({**values, "ranks": [8, 16]}) != before


def test_a_default_that_changes_later_leaves_recorded_cells_as_they_were() -> None:
    recorded = Cell.from_values({"embedding_ratio": 0.45}).values()
    del recorded["betas"], recorded["baseline"]["context"]
    whole = completed(recorded)
    assert whole["betas"] == [0.9, 0.95]
    assert whole["baseline"]["context"] == 256
    assert key_of(whole) == key_of(recorded)


def test_values_that_mean_the_same_have_one_form() -> None:
    assert canonical({"b": (1.0, 2), "a": {"z": None, "y": 0.5}}) == {
        "a": {"y": 0.5, "z": None},
        "b": [1, 2],
    }
    assert differing({"seed": 0.0, "betas": (0.9, 0.95)}) == {}
    assert differing({"seed": False}) == {"seed": False}


def test_the_key_of_the_first_versions_is_known_where_they_could_train_the_cell() -> None:
    values = {
        **SETTINGS,
        "target_parameters": 30_000,
        "vocab_size": 512,
        "n_heads": 2,
        "context": 32,
        "tokens": 20_480,
        "batch_size": 4,
        "evaluations": 10,
        "evaluation_bytes": 4_096,
        "learning_rate": 1e-2,
        "corpus": "./words",
        "precision": "fp32",
        "embedding": "untied",
        "glu_expansion": 4.0,
    }
    # Of tests/tune_app/old_sweep.
    assert Cell.from_values(values).former_key == "8fd800486b95"
    assert Cell.from_values({**values, "betas": [0.9, 0.99]}).former_key is None
