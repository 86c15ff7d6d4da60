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
class Inheritance:
    """What a sweep begins with; nothing by default."""

    origin: Mapping[str, Any] = field(default_factory=dict)
    """Recorded with the sweep: see `SweepRecord.origin`."""
    cells: tuple[AdoptedCell, ...] = ()
    tested: Tested = "leader"
    """Which finished cells are scored on the test split at the end."""
