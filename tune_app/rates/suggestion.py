"""From the losses of a run at a rising learning rate to a suggestion, with its reason. Pure.

The run is the range test of Smith (2015, "Cyclical Learning Rates for Training Neural Networks",
arXiv 1506.01186, section 3.3), with a rate that rises exponentially. He reads two rates from it:
the one at which the loss begins to fall, and the one at which it becomes ragged or rises again.
Between them lie the usable rates; the suggestion is the greatest that keeps a distance from the
upper one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

SMOOTHING = 0.9
"""Weight of the past in the running mean of losses: a mean over about ten steps."""
BELOW_THE_LOWEST = 10.0
"""The suggestion is the rate of the lowest loss divided by this: a rate is endured for one step
more easily than for a whole training. On the baseline of `quick` the loss was lowest at 9e-2, and
8e-3 is the best of five rates for whole trainings (docs/transfer.md)."""
FALLEN = 0.1
"""Share of its whole fall after which the loss counts as falling."""
LEAST_FALL = 0.01
"""Nats by which the loss must fall, even if it is the same from step to step."""
FEWEST = 20
"""Steps below which nothing is read from a run."""


class NoSuggestionError(ValueError):
    """The losses say nothing about the rate. The message says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A learning rate, and the range around it."""

    rate: float
    falls_from: float
    """The rate at which the loss began to fall."""
    lowest: float
    """The rate at which the smoothed loss was lowest."""
    reason: str


def smoothed(losses: Sequence[float], *, weight: float = SMOOTHING) -> list[float]:
    """Running means of the losses, with more weight on the newest; of the first it is itself."""
    means: list[float] = []
    mean = 0.0
    for step, loss in enumerate(losses, start=1):
        mean = weight * mean + (1 - weight) * loss
        means.append(mean / (1 - weight**step))
    return means


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Suggestion:
    """A learning rate from a run at rising rates.

    Args:
        rates: of each step, rising.
        losses: before each step, in nats. From the first NaN or infinite one on they are left out.

    Raises NoSuggestionError for too few steps, and for losses that never fall or fall to the end.
    """
    if len(rates) != len(losses):
        raise ValueError(f"there are {len(rates)} rates and {len(losses)} losses; give one each")
    if any(not 0 < low < high for low, high in itertools.pairwise(rates)):
        raise ValueError("the rates do not rise from step to step")
    usable = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    if usable < FEWEST:
        raise NoSuggestionError(
            f"only {usable} steps have a finite loss; at least {FEWEST} are needed: begin at a "
            "lower rate, or take more steps"
        )
    means = smoothed(losses[:usable])
    at = min(range(usable), key=means.__getitem__)
    early = max(3, usable // 20)
    first, least = fmean(losses[:early]), means[at]
    fall = first - least if at >= early else 0.0
    noise = _spread(losses[: usable // 2])
    if fall <= max(2 * noise, LEAST_FALL):
        raise NoSuggestionError(
            f"the loss fell by {fall:.3f} nats only, within twice its spread from step to "
            f"step of {noise:.3f}: no rate from {rates[0]:.2g} to {rates[usable - 1]:.2g} helps; "
            "try higher ones, more steps or another cell"
        )
    if at == len(losses) - 1:
        raise NoSuggestionError(
            f"the loss still falls at the highest rate, {rates[-1]:.2g}; go on to a higher one"
        )
    falls = next(i for i, mean in enumerate(means) if mean <= first - FALLEN * fall)
    rate = max(rates[at] / BELOW_THE_LOWEST, rates[falls])
    return Suggestion(
        rate=rate,
        falls_from=rates[falls],
        lowest=rates[at],
        reason=(
            f"the smoothed loss fell from {first:.3f} to {least:.3f} nats at a rate of "
            f"{rates[at]:.2g} and rose above it; it fell from {rates[falls]:.2g} on. "
            + (
                f"{rate:.2g} is the rate of the lowest loss divided by {BELOW_THE_LOWEST:g}"
                if rate > rates[falls]
                else f"{rate:.2g}, where it began to fall, is the rate nearest to the lowest "
                f"loss's divided by {BELOW_THE_LOWEST:g}"
            )
        ),
    )


def _spread(losses: Sequence[float]) -> float:
    """Standard deviation from step to step, whatever the trend (von Neumann, 1941)."""
    return math.sqrt(fmean((high - low) ** 2 for low, high in itertools.pairwise(losses)) / 2)
