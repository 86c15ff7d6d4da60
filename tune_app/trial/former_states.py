"""Converts a trial's state from an older version to today's form.

Called in one place, when a checkpoint is read, so that no other code needs to know old states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from model.mup import transfer
from model.spec import ModelConfig
from model.training.settings import TrainingSettings
from tune_app.journal.version_3 import upgraded_observation
from tune_app.plan.former_names import SIZES, renamed
from tune_app.plan.identity import FROZEN_DEFAULTS

FORMAT = 1
"""Of the state of a trial; increased when older versions could not read it rightly. States of
before formats were numbered have none."""


class NewerStateError(ValueError):
    """A newer version of the program wrote the state."""


def in_todays_form(state: Any, *, cell: str) -> Any:
    """The state of a trial of `cell` in today's form; anything else is returned unchanged.

    Settings newer than the state get their frozen defaults, which is how it was trained. The scales
    of a state that lacks them are derived from its baseline, if it has one.

    Raises NewerStateError.
    """
    if not isinstance(state, Mapping) or not isinstance(state.get("training"), Mapping):
        return state
    if (form := state.get("format", 0)) > FORMAT:
        raise NewerStateError(
            f"the checkpoint is in format {form}, but this version of Stellux reads up to "
            f"{FORMAT}; use the version that wrote it, or a newer one"
        )
    training = _training(state["training"])
    translated = {**state, "training": training}
    if isinstance(state.get("baseline"), Mapping):
        translated["baseline"] = _config(state["baseline"])
        if "config" in training and "scales" not in training:
            baseline = ModelConfig(**translated["baseline"])
            # States without scales are older than any other parametrization.
            scales = transfer(
                ModelConfig(**training["config"]), baseline=baseline, parametrization="depth_mup"
            )
            training["scales"] = scales.values()
    if isinstance(state.get("observation"), Mapping):
        translated["observation"] = {**upgraded_observation(state["observation"]), "cell": cell}
    if "losses" in state:
        # Older states have the losses since the last evaluation, and a single learning rate.
        translated["steps"] = {
            "train_loss": translated.pop("losses"),
            "learning_rate": [translated.pop("learning_rate")],
        }
    return translated


def _training(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of `model.training.training.Training`."""
    training = dict(state)
    if isinstance(state.get("config"), Mapping):
        training["config"] = _config(state["config"])
    if isinstance(state.get("training"), Mapping):
        training["training"] = {**_training_defaults(), **state["training"]}
    return training


def _config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes of a model, those included that are newer than the state."""
    return ModelConfig(**renamed(values, SIZES)).values()


def _training_defaults() -> dict[str, Any]:
    names = (field.name for field in fields(TrainingSettings))
    defaults = {name: FROZEN_DEFAULTS[name] for name in names}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in defaults.items()
    }
