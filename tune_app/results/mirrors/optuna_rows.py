"""Writes the trials of a new Optuna study all at once.

`RDBStorage.create_new_trial` looks up each value before it adds it: 40 ms a trial with eight
evaluations, more than a minute for 2,000. A test compares what both write. The tables are Optuna's
own business: if another version has changed them, it writes the trials itself.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import CompileError, IntegrityError

logger = logging.getLogger(__name__)

_MODELS = "optuna.storages._rdb.models"
_OTHER_TABLES = (ImportError, AttributeError, TypeError, CompileError, IntegrityError)
"""What other tables than those of the locked version of Optuna may raise."""


def insert_trials(storage: RDBStorage, study: int, trials: Sequence[FrozenTrial]) -> None:
    """Adds trials to a study that has none yet, in one transaction.

    Args:
        study: its ID.
        trials: in the order of their numbers.
    """
    try:
        _insert(storage, study, trials)
    except _OTHER_TABLES as error:
        logger.debug("Optuna has other tables (%s); it writes the trials itself", error)
        for trial in trials:
            storage.create_new_trial(study, trial)


def _insert(storage: RDBStorage, study: int, trials: Sequence[FrozenTrial]) -> None:
    models = importlib.import_module(_MODELS)
    session = storage.scoped_session()
    with session.begin():
        for identity, trial in enumerate(trials, start=1):
            session.add(
                models.TrialModel(
                    trial_id=identity,
                    number=trial.number,
                    study_id=study,
                    state=trial.state,
                    datetime_start=trial.datetime_start,
                    datetime_complete=trial.datetime_complete,
                )
            )
            session.add_all(_rows(models, identity, trial))


def _rows(models: Any, identity: int, trial: FrozenTrial) -> Iterator[Any]:
    """The parameters, attributes and values of a trial."""
    for name, distribution in trial.distributions.items():
        yield models.TrialParamModel(
            trial_id=identity,
            param_name=name,
            param_value=distribution.to_internal_repr(trial.params[name]),
            distribution_json=distribution_to_json(distribution),
        )
    for key, value in trial.user_attrs.items():
        yield models.TrialUserAttributeModel(
            trial_id=identity, key=key, value_json=json.dumps(value)
        )
    if trial.value is not None:
        value, kind = models.TrialValueModel.value_to_stored_repr(trial.value)
        yield models.TrialValueModel(trial_id=identity, objective=0, value=value, value_type=kind)
    for step, between in trial.intermediate_values.items():
        stored = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(between)
        yield models.TrialIntermediateValueModel(
            trial_id=identity,
            step=step,
            intermediate_value=stored[0],
            intermediate_value_type=stored[1],
        )
