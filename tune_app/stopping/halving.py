"""Successive halving: a rung is decided once every cell has reached it.

Source: Jamieson and Talwalkar, 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization". It passes the cells that ASHA passes, but workers wait at each rung.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_app.stopping.promotion import Ladder
from tune_app.stopping.rule import Title
from tune_app.stopping.rung_settings import RungSettings


@dataclass(frozen=True, kw_only=True)
class HalvingSettings(RungSettings):
    """Settings of successive halving. Raises ValueError for invalid ones."""

    NAME: ClassVar[str] = "halving"
    TITLE: ClassVar[Title] = Title(short="halving", by="successive halving", verb="paused")

    def describe(self, tokens: int) -> str:
        return (
            f"halving, all cells wait for each other and the best 1/{self.reduction_factor} go on "
            f"at {self.rungs_in_words(tokens)}"
        )

    def build(self, *, tokens: int) -> Ladder:
        """Raises ValueError if a trial is too short for a rung."""
        return Ladder(self.rungs(tokens), reduction_factor=self.reduction_factor, wait=True)
