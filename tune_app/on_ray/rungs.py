"""ASHA as Ray has it, used as the memory of who reached which rung with what.

Ray does not save a scheduler's state (ray-project/ray#30838), so whoever starts a sweep fills the
rungs from the journal, in the order of arrival. Source: Li et al., 2020, "A System for Massively
Parallel Hyperparameter Tuning" (the variant that stops a trial instead of pausing it).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from tune_app.stopping.asha import AshaSettings
from tune_app.stopping.referee import RungVerdict

_TOKENS = "tokens"
_BITS_PER_BYTE = "bits_per_byte"


class AshaRungs(AsyncHyperBandScheduler):
    """Ray's rungs, keyed by cells instead of Tune's trials, which differ from run to run.

    Args:
        settings: η and the first rung.
        tokens: of a whole trial. No rung lies there: a trial that has come so far is finished.
    """

    def __init__(self, settings: AshaSettings, *, tokens: int) -> None:
        super().__init__(
            time_attr=_TOKENS,
            metric=_BITS_PER_BYTE,
            mode="min",
            grace_period=max(1, round(settings.grace_fraction * tokens)),
            max_t=tokens - 1,
            reduction_factor=settings.reduction_factor,
            # With True a trial first seen late fills lower rungs with later values.
            stop_last_trials=False,
        )

    def arrive(self, cell: str, tokens: int, bits_per_byte: float) -> RungVerdict | None:
        (bracket,) = self._brackets
        self._trial_info.setdefault(cell, bracket)
        before = {milestone: dict(recorded) for milestone, recorded in bracket._rungs}
        # Of controller and trial Ray's ASHA looks at `trial_id` alone.
        nobody: Any = None
        trial: Any = SimpleNamespace(trial_id=cell)
        action = super().on_trial_result(
            nobody, trial, {_TOKENS: tokens, _BITS_PER_BYTE: bits_per_byte}
        )
        for milestone, recorded in bracket._rungs:
            if cell in recorded and cell not in before[milestone]:
                cutoff: Any = bracket.cutoff(before[milestone])
                return RungVerdict(
                    stop=action == TrialScheduler.STOP,
                    milestone=round(milestone),
                    # Ray maximises, so it keeps scores with the sign turned.
                    cutoff=None if cutoff is None else -float(cutoff),
                    arrivals=len(before[milestone]),
                )
        return None

    def recorded(self) -> dict[int, dict[str, float]]:
        """Bits per byte by cell, by rung, in the order of arrival."""
        (bracket,) = self._brackets
        return {
            round(milestone): {cell: -reward for cell, reward in recorded.items()}
            for milestone, recorded in bracket._rungs
        }
