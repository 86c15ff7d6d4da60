"""Observations for tests, each metric by its name.

observation("cell", 1_000, bits_per_byte=2.0)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tune_app.journal.metrics import metric
from tune_app.journal.records import Observation

_USUAL = {
    "bits_per_byte": 2.0,
    "perplexity": 20.0,
    "baseline_token_perplexity": 20.0,
    "train_loss": 3.0,
    "learning_rate": 0.01,
    "gradient_norm": 0.5,
    "tokens_per_second": 100.0,
}


def repeated(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics without what a clock or the machine had to do with."""
    return {name: value for name, value in metrics.items() if metric(name).repeats}


def observation(
    cell: str,
    tokens: int,
    *,
    baseline_tokens: int | None = None,
    seconds: Mapping[str, float] | None = None,
    **metrics: float | None,
) -> Observation:
    """An evaluation with those metrics, and usual values for the others; None leaves one out."""
    return Observation(
        cell=cell,
        tokens=tokens,
        baseline_tokens=tokens if baseline_tokens is None else baseline_tokens,
        metrics=_known({**_USUAL, **metrics}),
        seconds={} if seconds is None else seconds,
    )


def changed(point: Observation, **metrics: float | None) -> Observation:
    """The same evaluation with other values of those metrics; None takes one away."""
    return replace(point, metrics=_known({**point.metrics, **metrics}))


def _known(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if value is not None}
