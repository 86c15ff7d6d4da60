"""Our rungs against Ray Tune's ASHA, which is the oracle: equal to the last bit, always."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from tune_app.stopping.asha_stop import AshaStopSettings
from tune_app.stopping.rungs import Rungs


class RaysRungs:
    """Ray's scheduler, asked without a cluster."""

    def __init__(self, settings: AshaStopSettings, *, tokens: int) -> None:
        self._scheduler = AsyncHyperBandScheduler(
            time_attr="tokens",
            metric="bits_per_byte",
            mode="min",
            grace_period=settings.milestones(tokens)[0],
            # No rung lies at the end of a trial: it is finished there.
            max_t=tokens - 1,
            reduction_factor=settings.reduction_factor,
            # With True a trial first seen late fills lower rungs with later values.
            stop_last_trials=False,
        )
        (self._bracket,) = self._scheduler._brackets
        self._cutoff: float | None = None
        self._bracket.cutoff = self._watched(self._bracket.cutoff)  # type: ignore[method-assign]

    def _watched(self, cutoff: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Ray's own cutoff, noted as it is computed: it is the slowest part."""

        def compute(recorded: Any) -> Any:
            value = cutoff(recorded)
            # Ray maximises, so it keeps scores with the sign turned.
            self._cutoff = None if value is None else -float(value)
            return value

        return compute

    @property
    def recorded(self) -> dict[int, dict[str, float]]:
        """As ours, the lowest rung first."""
        return {
            milestone: {cell: -reward for cell, reward in rung.items()}
            for milestone, rung in reversed(self._bracket._rungs)
        }

    def arrive(self, cell: str, tokens: int, bits_per_byte: float) -> tuple[Any, ...] | None:
        """(stop, milestone, cutoff, earlier arrivals), or None where no new rung was reached."""
        self._scheduler._trial_info.setdefault(cell, self._bracket)
        known = [cell in rung for _, rung in self._bracket._rungs]
        # Of controller and trial Ray's ASHA looks at `trial_id` alone.
        nobody: Any = None
        trial: Any = SimpleNamespace(trial_id=cell)
        report = {"tokens": tokens, "bits_per_byte": bits_per_byte}
        action = self._scheduler.on_trial_result(nobody, trial, report)
        for (milestone, rung), before in zip(self._bracket._rungs, known, strict=True):
            if cell in rung and not before:
                return action == TrialScheduler.STOP, milestone, self._cutoff, len(rung) - 1
        return None


def sequence(chance: random.Random) -> tuple[AshaStopSettings, int, list[tuple[str, int, float]]]:
    """Settings, tokens of a trial, and arrivals of cells that each go forwards."""
    tokens = chance.choice([150_000, 1_000_003, chance.randrange(50, 10_000_000)])
    settings = AshaStopSettings(
        reduction_factor=chance.choice([2, 3, 4, 5, 7]),
        grace_fraction=chance.choice([0.25, 0.05, 0.5, chance.uniform(0.02, 0.95)]),
    )
    # Few digits make ties, between cells and with the cutoff.
    digits = chance.choice([1, 2, 16])
    cells: list[list[tuple[str, int, float]]] = []
    for number in range(chance.randrange(2, 24)):
        evaluations = chance.randrange(2, 14)
        # Whoever starts late, or is evaluated seldom, jumps over rungs.
        first = chance.choice([1, 1, 1, chance.randrange(1, evaluations + 1)])
        level = chance.gauss(2.0, 0.2)
        cells.append(
            [
                (
                    f"cell {number}",
                    tokens * step // evaluations,
                    round(level + 0.5 / step + chance.gauss(0, 0.05), digits),
                )
                for step in range(first, evaluations)
                if chance.random() < 0.9
            ]
        )
    # Exactly on a rung, as trials report whose evaluations fall there, and again after a resume.
    for curve in cells:
        for milestone in settings.milestones(tokens):
            if chance.random() < 0.3:
                curve.append((curve[0][0], milestone, 2.0) if curve else ("early", milestone, 2.0))
        curve.sort(key=lambda arrival: arrival[1])
        if curve and chance.random() < 0.2:
            at = chance.randrange(len(curve))
            curve[at + 1 : at + 1] = curve[max(0, at - 2) : at + 1]
    arrivals = []
    while cells := [curve for curve in cells if curve]:
        arrivals.append(chance.choice(cells).pop(0))
    return settings, tokens, arrivals


@pytest.mark.parametrize("sequences", [300, pytest.param(1_200, marks=pytest.mark.slow)])
def test_decisions_and_cutoffs_are_rays_to_the_last_bit(sequences: int) -> None:
    arrived = stopped = tied = 0
    for seed in range(sequences):
        settings, tokens, arrivals = sequence(random.Random(seed))
        milestones = settings.milestones(tokens)
        ours = Rungs(milestones, reduction_factor=settings.reduction_factor)
        rays = RaysRungs(settings, tokens=tokens)
        assert list(rays.recorded) == list(milestones), seed
        for cell, at, value in arrivals:
            arrival = ours.arrive(cell, at, value)
            told = arrival and (arrival.stop, arrival.milestone, arrival.cutoff, arrival.earlier)
            assert told == rays.arrive(cell, at, value), (seed, cell, at, value)
            if arrival is not None:
                arrived += 1
                stopped += arrival.stop
                tied += arrival.cutoff == value
        assert [list(rung.items()) for rung in ours.recorded.values()] == [
            list(rung.items()) for rung in rays.recorded.values()
        ], seed
    assert arrived > 15 * sequences, "the sequences have something to decide"
    assert stopped > 5 * sequences
    assert tied > sequences


@pytest.mark.parametrize(("tokens", "reduction_factor"), [(244, 3), (126, 5)])
def test_a_rung_at_the_last_token_but_one_is_there_by_whole_numbers(
    tokens: int, reduction_factor: int
) -> None:
    """Ray counts rungs by floating-point logarithms, which may lose the last one there."""
    settings = AshaStopSettings(reduction_factor=reduction_factor, grace_fraction=1 / tokens)
    milestones = settings.milestones(tokens)
    assert milestones[-1] == tokens - 1
    rays = list(RaysRungs(settings, tokens=tokens).recorded)
    assert rays in (list(milestones), list(milestones[:-1]))
