"""Trains one cell for a few hundred steps at a rate that rises exponentially."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from model.training.training import Training
from tune_app.plan.cell import Cell
from tune_app.plan.solved import SolvedModels
from tune_app.rates.suggestion import FEWEST, smoothed
from tune_app.trial.data import TrialData

LOWEST, HIGHEST, STEPS = 1e-5, 1.0, 300
LOST = 0.5
"""Share of what the loss had fallen by that it may rise again before the run ends."""


@dataclass(frozen=True, kw_only=True)
class RateRun:
    """The steps of a run; it may have ended before the highest rate."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Mean cross-entropy in nats per token before each step."""
    ended: str
    """Why it ended before the highest rate; empty if it did not."""


def rising(low: float, high: float, *, steps: int) -> tuple[float, ...]:
    """Rates from low to high, each the same factor above the one before.

    Raises ValueError if they do not rise, or for too few steps.
    """
    if not (0 < low < high < math.inf):
        raise ValueError(
            f"the rates go from {low:g} to {high:g}; they must be positive and rise, for example "
            f"from {LOWEST:g} to {HIGHEST:g}"
        )
    if steps < FEWEST:
        raise ValueError(f"{steps} steps are too few; take at least {FEWEST}, better {STEPS}")
    return tuple(low * (high / low) ** (step / (steps - 1)) for step in range(steps))


def run_at_rising_rates(
    cell: Cell,
    *,
    corpora: Callable[[TokenizerSpec], PreparedCorpus],
    rates: tuple[float, ...],
    device: str = "cpu",
    seen: Callable[[int], None] = lambda _: None,
) -> RateRun:
    """Trains a step at each rate, until the loss is lost again.

    The rate is what the cell's setting `learning_rate` would be; under Muon the matrices keep
    their ratio to it.

    Args:
        cell: whose model, data and settings are used; its schedule is not.
        corpora: returns the corpus as packed by a tokenizer.
        rates: of the steps.
        device: `cpu`, `cuda`, …
        seen: called with the number of steps done.

    Raises ValueError if the corpus or a setting is impossible.
    """
    # Of short sequences another rate is right than of those that most of a training has.
    cell = replace(cell, settings=replace(cell.settings, curriculum=()))
    data, solved = TrialData(cell, corpora=corpora), SolvedModels.of(cell)
    step_tokens = cell.settings.batch_size * cell.model.context
    # A learning_rate_factor would move the rates that are drawn away from those that train.
    settings = replace(
        cell.training_config(tokens=len(rates) * step_tokens), learning_rate_factor=1.0
    )
    training = Training(
        solved.model, settings, data.batches, baseline=solved.baseline, device=device
    )
    losses: list[float] = []
    ended = ""
    for step, rate in enumerate(rates, start=1):
        result = training.step(learning_rate=rate)
        finite = math.isfinite(result.checked_loss)
        losses.append(result.loss if finite else math.nan)
        seen(step)
        if not finite:
            ended = f"the loss or its gradient was not finite at a rate of {rate:.2g}"
        elif step >= FEWEST:
            means = smoothed(losses)
            fall = means[0] - min(means)
            if fall > 0 and means[-1] > min(means) + LOST * fall:
                ended = f"half of what the loss had fallen by was lost at a rate of {rate:.2g}"
        if ended:
            break
    return RateRun(rates=tuple(rates[: len(losses)]), losses=tuple(losses), ended=ended)
