"""Whether cells that were trained on so many tokens can be trained on more. Pure.

Only where the learning rate of every step so far would have been the same in the longer run. A
schedule that is stretched over the whole run, as warm-up and decay are, allows it up to the first
step at which the two differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.training.schedules import SCHEDULES
from tune_app.plan.cell import warmup_share


def same_until(values: Mapping[str, Any], *, tokens: int) -> int:
    """Baseline tokens up to which the learning rate is the same if a cell trains on `tokens`.

    values: of the cell, as it is recorded.
    """
    schedule = SCHEDULES[values["schedule"]]
    step = values["batch_size"] * values["context"]

    def rate(at: float, end: int) -> float:
        share = warmup_share(values, tokens=end)
        return schedule(min(1.0, at / end), warmup_fraction=share)

    shorter: int = min(values["tokens"], tokens)
    for begin in range(0, shorter, step):
        middle = begin + step / 2
        if rate(middle, values["tokens"]) != rate(middle, tokens):
            return begin
    return shorter


def why_not_continued(values: Mapping[str, Any], *, tokens: int) -> str:
    """Why finished cells cannot be continued to `tokens`, with the numbers; for an error message.

    values: of the baseline, as it is recorded.
    """
    until = same_until(values, tokens=tokens)
    begin = "from the first step on" if until == 0 else f"from {until:,} tokens on"
    return (
        f"the {values['schedule']} schedule spans all tokens, so that over {tokens:,} instead of "
        f"{values['tokens']:,} the learning rate would be another {begin}"
    )
