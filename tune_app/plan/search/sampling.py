"""Optuna's samplers, asked for one proposal at a time.

Each proposal has a sampler of its own, seeded with the search's seed and the proposal's number, and
a study that holds what is known: no state is carried from one round to the next.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tune_app.plan.search.records import Result, Told
from tune_app.plan.search.settings import SamplerSettings
from tune_app.plan.search.space import Parameter, SearchSpace

if TYPE_CHECKING:
    import optuna

_FEASIBLE = "has a solution"
"""Name of the constraint that infeasible points violate."""


class Asked:
    """The proposals of one round, as an Optuna study.

    Those that are to be trained count as running: the next ones of the round keep away from them,
    as TPE's constant liar does.

    Args:
        told: proposals of earlier rounds; points outside the space are left out.
    """

    def __init__(self, space: SearchSpace, settings: SamplerSettings, told: Sequence[Told]) -> None:
        import optuna  # noqa: PLC0415 - takes half a second, and only searches need it

        # Optuna logs every new study through a handler of its own.
        logging.getLogger("optuna.storages").setLevel(logging.WARNING)
        self._space, self._settings = space, settings
        self._study = optuna.create_study()
        self._infeasible = 0
        self._trial: optuna.Trial | None = None
        for one in told:
            choices = space.choices_of(one.values)
            if choices is not None and self._add(one, choices):
                self._infeasible += one.result is Result.INFEASIBLE

    def ask(self, number: int) -> dict[str, Any]:
        """The settings of the proposal of that number."""
        self._study.sampler = self._sampler(number)
        trial = self._trial = self._study.ask()
        return self._space.chosen(lambda one: _suggested(trial, one))

    def refuse(self, *, infeasible: bool) -> None:
        """Says that the newest proposal is not trained: no solution, or known already."""
        from optuna.trial import TrialState  # noqa: PLC0415

        assert self._trial is not None
        if infeasible:
            self._infeasible += 1
            self._trial.set_constraint(_FEASIBLE, 1.0)
        state = TrialState.PRUNED if infeasible else TrialState.FAIL
        self._study.tell(self._trial, state=state)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        import optuna  # noqa: PLC0415

        seed = int(np.random.SeedSequence([self._settings.seed, number]).generate_state(1)[0])
        if self._settings.name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        # Infeasible points say nothing about scores, so they do not count as a start.
        startup = self._settings.startup + self._infeasible
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)

    def _add(self, told: Told, choices: Mapping[str, Any]) -> bool:
        """Whether the study takes the point; values outside a distribution are not taken."""
        import optuna  # noqa: PLC0415
        from optuna.trial import TrialState  # noqa: PLC0415

        finished = told.result is Result.FINISHED
        curve = {}
        if told.result is Result.STOPPED and told.tokens is not None and told.score is not None:
            curve[told.tokens] = told.score
        try:
            trial = optuna.trial.create_trial(
                state=TrialState.COMPLETE if finished else TrialState.PRUNED,
                value=told.score if finished else None,
                params=dict(choices),
                distributions={
                    one.name: _distribution(one)
                    for one in self._space.parameters
                    if one.name in choices
                },
                intermediate_values=curve,
                constraints={_FEASIBLE: 1.0} if told.result is Result.INFEASIBLE else None,
            )
        except ValueError:
            return False
        self._study.add_trial(trial)
        return True


def _suggested(trial: optuna.Trial, parameter: Parameter) -> Any:
    """The sampler's choice of one of the parameter's choices, or of its distribution."""
    from optuna.distributions import FloatDistribution, IntDistribution  # noqa: PLC0415

    name, one = parameter.name, _distribution(parameter)
    if isinstance(one, FloatDistribution):
        return trial.suggest_float(name, one.low, one.high, step=one.step, log=one.log)
    if isinstance(one, IntDistribution):
        return trial.suggest_int(name, one.low, one.high, step=one.step, log=one.log)
    return trial.suggest_categorical(name, one.choices)


def _distribution(parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution  # noqa: PLC0415

    if parameter.distribution is not None:
        return parameter.distribution
    return CategoricalDistribution(parameter.choices)
