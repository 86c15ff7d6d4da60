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

from tune_app.stopping.promotion import Ladder
from tune_app.stopping.rule import Title
from tune_app.stopping.rung_settings import RungSettings


@dataclass(frozen=True, kw_only=True)
class AshaSettings(RungSettings):
    """Settings of ASHA. Raises ValueError for invalid ones."""

    NAME: ClassVar[str] = "asha"
    TITLE: ClassVar[Title] = Title(short="ASHA", by="ASHA", verb="paused")

    def describe(self, tokens: int) -> str:
        return (
            f"asha, all cells pause and the best 1/{self.reduction_factor} go on at "
            f"{self.rungs_in_words(tokens)}"
        )

    def build(self, *, tokens: int) -> Ladder:
        """Raises ValueError if a trial is too short for a rung."""
        return Ladder(self.rungs(tokens), reduction_factor=self.reduction_factor)
