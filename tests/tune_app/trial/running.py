"""Trials trained for tests, and what of their results repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from tests.tune_app.observations import repeated
from tune_app.journal.records import Observation
from tune_app.trial.trial import Trial

Corpora = Callable[[TokenizerSpec], PreparedCorpus]


def run_to_end(trial: Trial) -> list[Observation]:
    """Its evaluations, from where it stands."""
    observations = []
    while not trial.finished:
        observation = trial.advance()
        assert observation is not None
        observations.append(observation)
    return observations


def results(observations: list[Observation]) -> list[Observation]:
    """What a trial found, without what the clock had to do with it."""
    return [replace(point, seconds={}, metrics=repeated(point.metrics)) for point in observations]
