"""Ends a sweep on Ray before its cells have ended."""

from __future__ import annotations

from typing import Any

from ray.tune.stopper import Stopper

from tune_app.journal.endings import Ending, EndKind


class Halt(Stopper):
    """Ends the whole sweep once its ending is set."""

    def __init__(self) -> None:
        self.ending: Ending | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.ending is not None

    def lose(self, reason: str) -> None:
        """Ends it, since what is left would be worth nothing."""
        self.ending = Ending(kind=EndKind.LOST, reason=reason)
