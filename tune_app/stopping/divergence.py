"""A NaN or infinite loss stops a cell immediately, whatever the rules say."""

from __future__ import annotations

import math

from tune_app.journal.records import Action, Observation
from tune_app.stopping.rule import Verdict


def diverged(observation: Observation) -> Verdict | None:
    """Stops the cell if a loss is NaN or infinite; None if both losses are finite."""
    for name in ("bits_per_byte", "train_loss"):
        value = getattr(observation, name)
        if not math.isfinite(value):
            return Verdict(
                action=Action.STOP,
                reason=f"{name.replace('_', ' ')} is {value} at {observation.tokens:,} tokens",
                evidence={name: str(value), "tokens": observation.tokens},
            )
    return None
