"""When a trial takes a checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass

SHORTEST_INTERVAL = 2 * 60.0
LONGEST_INTERVAL = 15 * 60.0
"""Seconds; the most work that the loss of a host may cost."""
ASSUMED_BETWEEN_LOSSES = 6 * 3600.0
"""Seconds between two losses of a spot host, assumed until one is observed."""


def checkpoint_interval(cost: float, between_losses: float = ASSUMED_BETWEEN_LOSSES) -> float:
    """Seconds from one checkpoint to the next: √(2 · cost · between losses), 2 to 15 minutes.

    Source: Young, 1974, "A first order approximation to the optimum checkpoint interval", eq. 7;
    Daly, 2006, has the same first term.

    Args:
        cost: seconds of training that a checkpoint costs.
        between_losses: mean seconds between two losses of a host.
    """
    best = math.sqrt(2 * max(0.0, cost) * max(0.0, between_losses))
    return min(max(best, SHORTEST_INTERVAL), LONGEST_INTERVAL)


@dataclass(frozen=True, kw_only=True)
class CheckpointTiming:
    """When a trial takes checkpoints. Raises ValueError for a negative or infinite interval."""

    interval: float | None = None
    """Seconds from one checkpoint to the next; None for Young and Daly's optimum."""
    between_losses: float = ASSUMED_BETWEEN_LOSSES
    """Mean seconds between two losses of a host."""
    rungs: tuple[int, ...] = ()
    """Baseline tokens at which a trial may be stopped, and so takes a checkpoint."""

    def __post_init__(self) -> None:
        if self.interval is not None and not 0 <= self.interval < math.inf:
            raise ValueError(
                f"the checkpoint interval is {self.interval} seconds; it must be 0 or more, "
                f"for example {LONGEST_INTERVAL:.0f}"
            )

    def seconds(self, cost: float) -> float:
        """Seconds from one checkpoint to the next, if each costs `cost` seconds of training."""
        if self.interval is not None:
            return self.interval
        return checkpoint_interval(cost, self.between_losses)

    def passes_rung(self, before: int, after: int) -> bool:
        """Whether there is a rung in (before, after], in baseline tokens."""
        return any(before < rung <= after for rung in self.rungs)
