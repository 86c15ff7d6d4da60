"""The state of a trial as that of the same cell on more tokens. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from model.training.hardware import differences
from model.training.settings import TrainingConfig
from tune_app.plan.cell import Cell
from tune_app.plan.more_tokens import same_until, why_length_matters
from tune_app.trial.data import TrialData


def longer_state(state: Mapping[str, Any], *, cell: Cell, data: TrialData) -> dict[str, Any]:
    """The state that `cell` would have had where this one was taken.

    Args:
        state: of a cell that differs in its tokens and evaluations alone, from before its
            cool-down.
        cell: the one with more tokens.
        data: its data.

    Raises ValueError, with the reason, if a step before the state would have been another.
    """
    training = state["training"]
    then = TrainingConfig(**training["training"])
    now = cell.training_config(
        tokens=data.tokens,
        warmup_tokens=data.warmup_tokens,
        micro_batch_size=then.micro_batch_size,
    )
    trained, context = int(training["tokens"]), cell.model.context
    same_length = replace(then, tokens=now.tokens, warmup_fraction=now.warmup_fraction)
    if changed := differences(asdict(same_length), asdict(now)):
        raise ValueError(f"the state belongs to another cell ({'; '.join(changed)})")
    if reason := why_length_matters(cell):
        raise ValueError(f"it cannot be trained on more tokens: {reason}")
    if (until := same_until(then, now, context=context)) < trained:
        raise ValueError(
            f"over {now.tokens:,} instead of {then.tokens:,} tokens the learning rate would be "
            f"another from {until:,} tokens on, and the state is of {trained:,} tokens; use a "
            f"checkpoint of at most {until:,}"
        )
    observation = state["observation"]
    return {
        **state,
        "cell": cell.values(),
        "training": {**training, "training": asdict(now)},
        "evaluations": sum(
            data.goal(number) <= trained for number in range(1, cell.settings.evaluations + 1)
        ),
        "observation": None if observation is None else {**observation, "cell": cell.key},
    }
