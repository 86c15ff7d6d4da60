"""ASHA: all cells reach the first rung and pause; the best 1/η of each rung go on.

Source: Li et al., 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2. The
paper draws cells without end and promotes the best 1/η of those that have arrived so far, of which
some would not have passed had it waited. A sweep knows all of its cells, so here a cell goes on as
soon as none of those that are still on their way can take its place: the best 1/η pass, and neither
the order in which cells start nor the number of workers decides which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_app.stopping.ladder_settings import LadderSettings
from tune_app.stopping.rule import Title


@dataclass(frozen=True, kw_only=True)
class AshaSettings(LadderSettings):
    """Settings of ASHA. Raises ValueError for invalid ones."""

    NAME: ClassVar[str] = "asha"
    TITLE: ClassVar[Title] = Title(short="ASHA", by="ASHA", verb="paused")
    WAITS: ClassVar[bool] = False
    CELLS: ClassVar[str] = "all cells pause"
