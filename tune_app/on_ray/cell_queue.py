"""The cells that Tune is to start, so many at once; a paused cell gives its place to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search.basic_variant import BasicVariantGenerator

from tune_app.on_ray.not_pickled import Unsaved


class CellQueue(Unsaved, BasicVariantGenerator):
    """Tune's own generator, which counts a paused trial as one that runs, and which is finished
    once it has named every trial: Tune then ends the processes of paused trials, that the next one
    could use.

    Args:
        at_once: cells at once.
        ended: whether the sweep is ending, so that what is paused stays so.
    """

    def __init__(self, *, at_once: int, ended: Callable[[], bool] = lambda: False) -> None:
        super().__init__(max_concurrent=at_once)
        self._paused: set[str] = set()
        self._ended = ended

    def pause(self, trial_id: str) -> None:
        self._live_trials.discard(trial_id)
        self._paused.add(trial_id)

    def resume(self, trial_id: str) -> bool:
        """Whether there is a place for a paused trial, which then takes it."""
        if len(self._live_trials) >= self.max_concurrent:
            return False
        self._paused.discard(trial_id)
        self._live_trials.add(trial_id)
        return True

    @property
    def idle(self) -> bool:
        """Whether every trial has been named and none runs or is about to."""
        return bool(super().is_finished()) and not self._live_trials

    def is_finished(self) -> bool:
        return bool(super().is_finished()) and (self._ended() or not self._paused)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        super().on_trial_complete(trial_id, result, error)
        self._paused.discard(trial_id)

    def save_to_dir(self, dirpath: str, session_str: str) -> None:  # type: ignore[override]
        """Nothing: a sweep continues from its journal."""
