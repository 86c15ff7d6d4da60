"""When a trial's state is worth a checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass

SHORTEST_INTERVAL = 2 * 60.0
LONGEST_INTERVAL = 15 * 60.0
"""Seconds of work that a lost host may cost at the most."""
ASSUMED_BETWEEN_LOSSES = 6 * 3600.0
"""Seconds between two losses of a spot host, as long as none was observed."""


def checkpoint_interval(cost: float, between_losses: float = ASSUMED_BETWEEN_LOSSES) -> float:
    """Seconds from one checkpoint to the next: √(2 · cost · between losses), in 2 to 15 minutes.

    Source: Young, 1974, "A first order approximation to the optimum checkpoint interval", eq. 7;
    Daly, 2006, has the same first term.

    Args:
        cost: seconds that a checkpoint keeps the trial from training.
        between_losses: mean seconds between two losses of a host.
    """
    best = math.sqrt(2 * max(0.0, cost) * max(0.0, between_losses))
    return min(max(best, SHORTEST_INTERVAL), LONGEST_INTERVAL)


@dataclass(frozen=True, kw_only=True)
class CheckpointTiming:
    """When a trial saves. Raises ValueError for an interval that no clock has."""

    interval: float | None = None
    """Seconds from one checkpoint to the next; None for the best by Young and Daly."""
    between_losses: float = ASSUMED_BETWEEN_LOSSES
    """Mean seconds between two losses of a host."""
    rungs: tuple[int, ...] = ()
    """Baseline tokens at which a trial may be stopped, and so has a checkpoint."""

    def __post_init__(self) -> None:
        if self.interval is not None and not 0 <= self.interval < math.inf:
            raise ValueError(
                f"a checkpoint every {self.interval} seconds; it must be 0 or more, for example "
                f"{LONGEST_INTERVAL:.0f}"
            )

    def seconds(self, cost: float) -> float:
        """From one checkpoint to the next, where one keeps the trial from training for `cost`."""
        if self.interval is not None:
            return self.interval
        return checkpoint_interval(cost, self.between_losses)

    def passes_rung(self, before: int, after: int) -> bool:
        """Whether a rung lies in (before, after], in baseline tokens."""
        return any(before < rung <= after for rung in self.rungs)
