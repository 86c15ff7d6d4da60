"""Overfit mode: a cell learns a few thousand tokens by heart, or something is broken.

A model that cannot bring the loss of so little text near zero does not learn what it sees: wrong
targets, a part without a gradient, a rate that is far off. That a model can says little more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean

from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from model.network.batch import Batch, TensorBatch
from model.training.training import BatchSource, Training
from tune_app.plan.cell import Cell
from tune_app.plan.solved import SolvedModels
from tune_app.trial.data import TrialData

TOKENS, STEPS, BELOW = 2_048, 400, 0.1


@dataclass(frozen=True, kw_only=True)
class Overfit:
    """How far a cell learned its text by heart."""

    learned: bool
    steps: int
    tokens: int
    """Of the text, which was seen again and again."""
    first: float
    """Loss of the first step, in nats per token."""
    last: float
    """Mean loss of the last pass over the text."""
    below: float
    """What it had to be below."""
    gradient_norm: float
    """Of the last step, before clipping."""
    vocabulary: int
    learning_rate: float

    @property
    def told(self) -> str:
        """What happened, in a sentence with the numbers; if it failed, with what to look at."""
        fell = (
            f"the loss of {self.tokens:,} tokens went from {self.first:.3f} to {self.last:.3f} "
            f"nats in {self.steps} steps"
        )
        if self.learned:
            return f"learned by heart: {fell}, below {self.below:g}"
        chance = math.log(self.vocabulary)
        if not math.isfinite(self.last):
            hint = "it diverged: lower the learning rate"
        elif self.last > 0.9 * min(self.first, chance):
            hint = "it hardly learns at all: look at the targets, the loss and the gradients"
        else:
            hint = "it learns, but too slowly: take more steps or another learning rate"
        return (
            f"not learned by heart: {fell}; it had to fall below {self.below:g}. Chance is "
            f"{chance:.3f}, the last gradient's norm {self.gradient_norm:.3g}, the learning rate "
            f"{self.learning_rate:g}; {hint}"
        )


class RepeatedBatches:
    """The first few batches again and again."""

    def __init__(self, batches: BatchSource, *, distinct: int) -> None:
        self._batches, self._distinct = batches, distinct

    def batch(self, step: int) -> Batch | TensorBatch:
        """The batch of a step."""
        return self._batches.batch(step % self._distinct)


def overfit(
    cell: Cell,
    *,
    corpora: Callable[[TokenizerSpec], PreparedCorpus],
    tokens: int = TOKENS,
    steps: int = STEPS,
    below: float = BELOW,
    device: str = "cpu",
) -> Overfit:
    """Trains a cell on its first few batches until their mean loss is below a limit.

    Everything is as the cell asks, but for dropout, which keeps a model from learning by heart, a
    curriculum, and the rate, which after the warm-up stays the same until the last fifth of the
    steps.

    Args:
        cell: the cell.
        corpora: returns the corpus as packed by a tokenizer.
        tokens: of text, rounded to whole steps, at least one.
        steps: at most.
        below: nats per token.
        device: `cpu`, `cuda`, …

    Raises ValueError for an impossible number, corpus or setting.
    """
    for name, value in (("tokens", tokens), ("steps", steps)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if not 0 < below < math.inf:
        raise ValueError(f"below is {below:g}; it must be a positive loss in nats, such as {BELOW}")
    settings = replace(cell.settings, curriculum=())
    cell = replace(cell, model=replace(cell.model, dropout=0.0), settings=settings)
    data, solved = TrialData(cell, corpora=corpora), SolvedModels.of(cell)
    step_tokens = cell.settings.batch_size * cell.model.context
    distinct = max(1, round(tokens / step_tokens))
    if steps < distinct:
        raise ValueError(
            f"{steps} steps are not one pass over {distinct * step_tokens:,} tokens; take at least "
            f"{distinct} steps, or fewer tokens"
        )
    config = replace(cell.training_config(tokens=steps * step_tokens), schedule="wsd")
    training = Training(
        solved.model,
        config,
        RepeatedBatches(data.batches, distinct=distinct),
        baseline=solved.baseline,
        device=device,
    )
    losses: list[float] = []
    norm = math.nan
    while len(losses) < steps:
        result = training.step()
        norm = result.metrics["gradient_norm"]
        losses.append(result.loss if math.isfinite(norm) else math.nan)
        if not math.isfinite(losses[-1]):
            break
        if len(losses) >= distinct and fmean(losses[-distinct:]) < below:
            break
    last = fmean(losses[-distinct:])
    return Overfit(
        learned=last < below,
        steps=len(losses),
        tokens=distinct * step_tokens,
        first=losses[0],
        last=last,
        below=below,
        gradient_norm=norm,
        vocabulary=solved.model.vocab_size,
        learning_rate=config.learning_rate * config.learning_rate_factor,
    )
