"""Stopping ASHA: at each rung a cell is compared with those that reached it earlier.

As Ray Tune has it. Nothing is paused, so whoever comes early passes: `asha.py` pauses and promotes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tune_app.journal.records import Action, Observation
from tune_app.stopping.curves import Curves
from tune_app.stopping.precision import in_words, standard_error
from tune_app.stopping.rule import Title, Verdict
from tune_app.stopping.rung_settings import RungSettings
from tune_app.stopping.rungs import Arrival, Rungs


@dataclass(frozen=True, kw_only=True)
class AshaStopSettings(RungSettings):
    """Settings of stopping ASHA. Raises ValueError for invalid ones."""

    NAME: ClassVar[str] = "asha-stop"
    TITLE: ClassVar[Title] = Title(short="stopping ASHA", by="stopping ASHA")

    def describe(self, tokens: int) -> str:
        return (
            f"asha-stop, best 1/{self.reduction_factor} of the earlier arrivals at "
            f"{self.rungs_in_words(tokens)}"
        )

    def build(self, *, tokens: int) -> AshaStop:
        """Raises ValueError if a trial is too short for a rung."""
        return AshaStop(Rungs(self.rungs(tokens), reduction_factor=self.reduction_factor))


class AshaStop:
    """Stops a cell that is worse at a rung than the cutoff of the earlier arrivals, unless the dev
    sample is too small to tell it from the last cell that is kept.

    rungs: the arrivals so far, none at first.
    """

    def __init__(self, rungs: Rungs) -> None:
        self.rungs = rungs

    def judge(self, curves: Curves, observation: Observation) -> Verdict | None:
        arrival = self.rungs.arrive(
            observation.cell, observation.baseline_tokens, observation.bits_per_byte
        )
        if arrival is None:
            return None
        evidence: dict[str, Any] = {
            "milestone": arrival.milestone,
            "cutoff": arrival.cutoff,
            "arrivals": arrival.earlier,
            "bits_per_byte": observation.bits_per_byte,
            "immune": curves.is_baseline(observation.cell),
        }
        reason = _explain(arrival, observation)
        if arrival.stop and (error := _too_close(curves, arrival, observation)) is not None:
            reason += (
                ", but the dev sample is too small to decide on: the standard error of the "
                f"difference to the last that is kept is {in_words(error)}; raise evaluation_bytes"
            )
            evidence |= {"undecided": True, "standard_error": str(error)}
            return Verdict(action=Action.CONTINUE, reason=reason, evidence=evidence)
        return Verdict(
            action=Action.STOP if arrival.stop else Action.CONTINUE,
            reason=reason,
            evidence=evidence,
        )


def _too_close(curves: Curves, arrival: Arrival, observation: Observation) -> float | None:
    """The standard error of the difference to the last cell that is kept, if it is not smaller.

    A rank has no margin: what is asked of the sample is that it tells the two cells apart. None if
    it does, or if the evaluations of an older version do not say.
    """
    if arrival.last_kept is None:
        return None
    kept = next(
        point
        for point in curves.of(arrival.last_kept)
        if point.baseline_tokens >= arrival.milestone
    )
    error = standard_error(observation.sample_parts, kept.sample_parts)
    close = error is not None and observation.bits_per_byte - kept.bits_per_byte <= error
    return error if close else None


def _explain(arrival: Arrival, observation: Observation) -> str:
    rung = f"rung {arrival.milestone:,}"
    if arrival.cutoff is None:
        return f"{rung}: the first to arrive, with bpb {observation.bits_per_byte:.4f}"
    comparison = "worse than" if arrival.stop else "within"
    return (
        f"{rung}: bpb {observation.bits_per_byte:.4f} is {comparison} the cutoff "
        f"{arrival.cutoff:.4f} of {arrival.earlier} earlier arrivals"
    )
