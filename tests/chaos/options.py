"""What a chaos run does, and how much work it needs to outlast its faults."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tests.chaos.store import StoreKind
from tests.chaos.workspace import EXPANSIONS, Size

SECONDS_PER_FAULT = 12.0
"""From one fault to the next, delay and the wait for a victim counted in."""
TOKENS_PER_SECOND = 20_000
"""Of a cell on one of two CPU cores that train side by side."""
SHARE_TRAINING = 0.5
"""Of the time under faults that goes into new tokens, at the most; the rest is lost to restarts."""
LEAST_CELLS = 8


@dataclass(frozen=True, kw_only=True)
class ChaosOptions:
    """What a run does. Raises ValueError for what cannot be run."""

    faults: int = 100
    seed: int = 0
    nodes: int = 2
    interval: float = 2.0
    """Seconds from checkpoint to checkpoint."""
    store: StoreKind = "path"
    """Of the checkpoints: a folder, or one behind an sshd."""
    tokens: int = 600_000
    """A cell: about half a minute."""
    seeds: int | None = None
    """Cells are five times as many; None for as many as the faults need."""
    short: bool = False
    """Shorter pauses: of 3 to 8 s, not 10 to 60 s."""

    def __post_init__(self) -> None:
        if not 2 <= self.nodes <= 8:
            raise ValueError(f"{self.nodes} nodes; it must be 2 to 8, one has to outlive another")
        if self.interval <= 0:
            raise ValueError(f"a checkpoint every {self.interval} s; it must be above 0")

    @property
    def size(self) -> Size:
        """Enough work for all faults: cells rather than longer ones, since starts are hit too."""
        if self.seeds is not None:
            return Size(tokens=self.tokens, seeds=self.seeds)
        seconds = self.faults * SECONDS_PER_FAULT * SHARE_TRAINING * self.nodes
        cells = max(LEAST_CELLS, seconds / (self.tokens / TOKENS_PER_SECOND))
        return Size(tokens=self.tokens, seeds=math.ceil(cells / len(EXPANSIONS)))
