"""How long cells train, said in tokens, steps or epochs: one of them, converted to tokens once.

A cell knows baseline tokens alone, so that equal cells have equal keys however their length was
said, and every cell of a sweep trains on the same text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from data.counts import with_counts_read
from data.tokenizers.spec import TokenizerSpec
from tune_app.plan import nuisance
from tune_app.plan.cell import BASELINE_MODEL, Cell
from tune_app.plan.space import Space, SpaceError
from tune_app.plan.space_file import at_its_line
from tune_app.plan.wishes import BUDGETS, Wishes

TrainTokens: TypeAlias = Callable[[str, TokenizerSpec], int]
"""From a corpus and a tokenizer to the tokens of one pass over the training text."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The length of a training in tokens."""

    tokens: int
    reason: str
    """How the tokens were found; empty if they were given."""


def budget_of(
    values: Mapping[str, Any],
    *,
    step_tokens: Callable[[], tuple[int, int]],
    epoch_tokens: Callable[[], int],
) -> Budget | None:
    """The length that values name as one of BUDGETS; None if they name none.

    Args:
        values: of a cell, among others.
        step_tokens: sequences in a step, and tokens in a sequence.
        epoch_tokens: of one pass over the training text.

    Raises ValueError if two of them are named, and for an impossible value.
    """
    named = [name for name in BUDGETS if values.get(name) is not None]
    if len(named) > 1:
        raise ValueError(
            f"{' and '.join(named)} all say how long to train; give one of {', '.join(BUDGETS)}"
        )
    if not named:
        return None
    name, value = named[0], with_counts_read(values[named[0]])
    if name == "tokens":
        return Budget(tokens=value, reason="")
    if name == "steps":
        steps = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps is {value!r}; it must be a whole number of at least 1")
        sequences, length = step_tokens()
        tokens = steps * sequences * length
        reason = f"{steps:,} steps of {sequences:,} × {length:,} tokens are {tokens:,} tokens"
        return Budget(tokens=tokens, reason=reason)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and 0 < value < math.inf):
        raise ValueError(f"epochs is {value!r}; it must be a number above 0, for example 0.5 or 2")
    whole = epoch_tokens()
    tokens = round(value * whole)
    if tokens < 1:
        raise ValueError(
            f"epochs is {value:g}, less than a token of the {whole:,} in the training text; "
            "give more"
        )
    passes = "1 epoch is" if value == 1 else f"{value:g} epochs are"
    reason = f"{passes} {tokens:,} tokens: the training text has {whole:,}"
    return Budget(tokens=tokens, reason=reason)


def with_tokens(
    values: Mapping[str, Any], *, train_tokens: TrainTokens | None
) -> Mapping[str, Any]:
    """The values of one cell with their length in tokens. Raises ValueError as `budget_of`."""
    budget = _counted(values, train_tokens)
    if budget is None:
        return values
    return {**_without(values), "tokens": budget.tokens}


def in_tokens(
    space: Space, wishes: Wishes, *, train_tokens: TrainTokens | None
) -> tuple[Space, Wishes, str]:
    """The same sweep with its length in tokens, and how they were found (empty: they were given).

    Steps and tokens are the baseline's, also where a space varies what is in a step.

    Raises ValueError as `budget_of`, and for epochs without `train_tokens`.
    """
    for part, values in (("AXES", space.axes), (nuisance.PART, space.nuisance)):
        if wrong := next((name for name in ("steps", "epochs") if name in values), None):
            raise SpaceError(
                f"{wrong} is in {part}; all cells of a sweep train equally long, so put it "
                f"into FIXED, or use --{wrong}"
            )
    wished, fixed = dict(wishes.values), dict(space.fixed)
    asked = {name: value for name, value in wished.items() if name in BUDGETS}
    if asked:
        fixed = _without(fixed)
    named = {**{name: value for name, value in fixed.items() if name in BUDGETS}, **asked}
    if not {"steps", "epochs"} & named.keys():
        return (replace(space, fixed=fixed) if asked else space), wishes, ""

    try:
        budget = _counted(
            {**BASELINE_MODEL, **fixed, **wished, **space.baseline, **named}, train_tokens
        )
    except ValueError as error:
        raise at_its_line(error, space, overridden=wishes.values) from None
    assert budget is not None
    rest = tuple((name, value) for name, value in wishes.set if name not in BUDGETS)
    return (
        replace(space, fixed=_without(fixed)),
        replace(wishes, tokens=budget.tokens, steps=None, epochs=None, set=rest),
        budget.reason,
    )


def _counted(values: Mapping[str, Any], train_tokens: TrainTokens | None) -> Budget | None:
    """The length that the values of a cell name, by its baseline's steps and tokens."""

    def cell() -> Cell:
        return Cell.from_values(_without(values))

    def step_tokens() -> tuple[int, int]:
        named = cell()
        if named.settings.stages:
            raise ValueError(
                "steps differ in length under a curriculum, so they are no measure of a training; "
                "give tokens or epochs"
            )
        return named.settings.batch_size, named.baseline.context

    def epoch_tokens() -> int:
        if train_tokens is None:
            raise ValueError("epochs are counted in a corpus, which is not read here; give tokens")
        return train_tokens(cell().settings.corpus, cell().baseline_tokenizer)

    return budget_of(values, step_tokens=step_tokens, epoch_tokens=epoch_tokens)


def _without(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in BUDGETS}
