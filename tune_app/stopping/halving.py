"""Successive halving: a rung is decided once every cell has reached it.

Source: Jamieson and Talwalkar, 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization". It passes the cells that ASHA passes, but workers wait at each rung.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_app.stopping.ladder_settings import LadderSettings
from tune_app.stopping.rule import Title


@dataclass(frozen=True, kw_only=True)
class HalvingSettings(LadderSettings):
    """Settings of successive halving. Raises ValueError for invalid ones."""

    NAME: ClassVar[str] = "halving"
    TITLE: ClassVar[Title] = Title(short="halving", by="successive halving", verb="paused")
    WAITS: ClassVar[bool] = True
    CELLS: ClassVar[str] = "all cells wait for each other"
