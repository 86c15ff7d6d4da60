"""What a new sweep takes over from others: why it trains its cells, and what is trained of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tune_app.journal.adoption import AdoptedCell

Tested = Literal["leader", "all", "none"]
"""Whose cells: of the leader and the baseline; of all designs, in a sweep that decides by these
scores, which it does once; or of none, where a later sweep is to decide."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """The checkpoint from which a cell goes on that another sweep trained on fewer tokens."""

    key: str
    shorter: str
    """Key of the cell on fewer tokens."""
    former_key: str | None
    """Of the cell on fewer tokens."""
    store: str
    """URL of the store that has the checkpoint."""
    tokens: int
    """At which it was taken, of the cell's own tokenizer."""
    share: float
    """Share of the cell's training that is done by then."""


@dataclass(frozen=True, kw_only=True)
class Inheritance:
    """What a sweep begins with; nothing by default."""

    origin: Mapping[str, Any] = field(default_factory=dict)
    """Recorded with the sweep: see `SweepRecord.origin`."""
    cells: tuple[AdoptedCell, ...] = ()
    beginnings: tuple[Beginning, ...] = ()
    """Checkpoints that are brought into its store."""
    tested: Tested = "leader"
    """Which finished cells are scored on the test split at the end."""

    @property
    def done(self) -> dict[str, float]:
        """The share of the training that is done, of cells that do not start anew, by key."""
        return {one.key: one.share for one in self.beginnings}
