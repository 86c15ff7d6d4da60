"""Settings that schedulers which pause cells at rungs and promote the best share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_app.stopping.promotion import Ladder
from tune_app.stopping.rung_settings import RungSettings


@dataclass(frozen=True, kw_only=True)
class LadderSettings(RungSettings):
    """Base class of their settings. Raises ValueError for invalid ones."""

    WAITS: ClassVar[bool]
    """Whether a rung is decided only once every cell has reached it."""
    CELLS: ClassVar[str]
    """What the cells do at a rung, in words: `all cells pause`."""

    def describe(self, tokens: int) -> str:
        return (
            f"{self.NAME}, {self.CELLS} and the best 1/{self.reduction_factor} go on at "
            f"{self.rungs_in_words(tokens)}"
        )

    def build(self, *, tokens: int) -> Ladder:
        """Raises ValueError if a trial is too short for a rung."""
        return Ladder(self.rungs(tokens), reduction_factor=self.reduction_factor, wait=self.WAITS)
