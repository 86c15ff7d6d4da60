"""Races: who leaves, how they end, and how often they err in studies that are made up."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from scipy.integrate import quad
from scipy.stats import beta

from tune_app.statistics.racing import EFFECT, Pilot, log_e_value, measured_drift, radius
from tune_app.statistics.rates import rate_interval
from tune_app.stopping.racing import End, RaceSettings, RaceState, early_stop, race

SIGMA = 0.0008
RHO = 0.3
PILOT_SEEDS = 5


def study(
    means: Sequence[float], chance: random.Random, settings: RaceSettings
) -> tuple[RaceState, int]:
    """A race of designs with these true scores, and the cells that it trained.

    Scores of one seed share a part of their noise. The pilot knows σ from a design on a few seeds.
    """
    residuals = [chance.gauss(0, SIGMA) for _ in range(PILOT_SEEDS)]
    mean = sum(residuals) / PILOT_SEEDS
    sigma = math.sqrt(sum((one - mean) ** 2 for one in residuals) / (PILOT_SEEDS - 1))
    pilot = Pilot.of_scores(sigma, PILOT_SEEDS - 1)
    designs = [f"design {at}" for at in range(len(means))]
    scores: dict[str, dict[int, float]] = {design: {} for design in designs}
    state, cells, seeds = RaceState(left=tuple(designs)), 0, list[int]()
    while state.end is None:
        seed = len(seeds)
        seeds.append(seed)
        shared = math.sqrt(RHO) * chance.gauss(0, SIGMA)
        for design in state.left:
            own = math.sqrt(1 - RHO) * chance.gauss(0, SIGMA)
            scores[design][seed] = means[designs.index(design)] + shared + own
            cells += 1
        state = race(scores, seeds, pilot, settings)
    return state, cells


def ends(means: Sequence[float], studies: int, **settings: float) -> tuple[Counter[str], float]:
    """How often each design wins, or how a race ends otherwise; and the mean number of cells."""
    chance, found, cells = random.Random(0), Counter[str](), 0
    for _ in range(studies):
        state, trained = study(means, chance, RaceSettings(**settings))  # type: ignore[arg-type]
        assert state.end is not None
        found[state.winner or state.end.name] += 1
        found["left wrongly"] += any(
            means[int(one.design.split()[1])] <= means[int(one.better.split()[1])]
            for one in state.departures
        )
        cells += trained
    return found, cells / studies


def error_rates(studies: int, *, designs: int, seeds: int) -> None:
    nothing = [1.5] * designs
    found, _ = ends(nothing, studies, smallest_difference=0.0002, most_seeds=seeds)
    # At every moment: whoever has left stays away.
    assert rate_interval(found["left wrongly"], studies)[0] <= 0.05
    assert found["left wrongly"] / studies <= 0.1
    gap = [1.5, *[1.5 + 5 * SIGMA] * (designs - 1)]
    found, cells = ends(gap, studies, most_seeds=seeds)
    assert found["design 0"] / studies >= 0.8
    assert rate_interval(found["left wrongly"], studies)[0] <= 0.05
    assert cells < designs * seeds


def test_races_err_as_seldom_as_they_say() -> None:
    error_rates(20, designs=4, seeds=8)


@pytest.mark.slow
def test_races_err_as_seldom_as_they_say_in_many_studies() -> None:
    error_rates(2_000, designs=6, seeds=12)


def test_equal_designs_are_not_told_apart() -> None:
    found, cells = ends([1.5, 1.5, 1.5], 20)
    assert found["SAME"] >= 19, "within 0.005, which is six times the noise"
    assert cells < 3 * 8


def test_a_race_says_who_left_for_whom_and_is_the_same_when_it_is_replayed() -> None:
    scores = {"a": {0: 1.5, 1: 1.51, 2: 1.5}, "b": {0: 1.502, 1: 1.511, 2: 1.499}, "c": {0: 1.6}}
    pilot = Pilot(sigma=0.001, degrees_of_freedom=8)
    state = race(scores, [0, 1, 2], pilot, RaceSettings(smallest_difference=0.001))
    (gone,) = state.departures
    assert (gone.design, gone.better, gone.seeds) == ("c", "a", 1)
    assert gone.reason.startswith("+0.1000 against a over 1 seed, e-value ")
    assert (state.left, state.end, state.seeds) == (("a", "b"), None, 3)
    spent = race(
        scores, [0, 1, 2], pilot, RaceSettings(smallest_difference=0.001), affordable=False
    )
    assert spent.end is End.BUDGET and spent.winner is None
    assert spent.reason.startswith("these data cannot tell a from b after 3 seeds: they differ by ")
    # A block counts once all that are left have its seed.
    assert race(scores, [0, 3], pilot, RaceSettings(smallest_difference=0.001)).seeds == 1


def test_a_design_that_diverges_leaves_at_once() -> None:
    scores = {"a": {0: 1.5}, "b": {0: math.nan}, "c": {0: math.inf}}
    state = race(scores, [0], Pilot(sigma=0.001, degrees_of_freedom=4), RaceSettings())
    assert (state.left, state.end) == (("a",), End.ONE_LEFT)
    assert state.winner == "a"


def test_an_e_value_is_robbins_mixture_once_the_variance_is_known() -> None:
    differences, sigma = [0.4, -0.1, 0.7, 0.5], 0.5
    effect = EFFECT * sigma
    total, n = sum(differences), len(differences)
    known = 0.5 * math.log(sigma**2 / (sigma**2 + n * effect**2)) + (effect * total) ** 2 / (
        2 * sigma**2 * (sigma**2 + n * effect**2)
    )
    pilot = Pilot(sigma=sigma, degrees_of_freedom=10**8)
    assert log_e_value(differences, pilot) == pytest.approx(known, rel=1e-6)
    assert log_e_value([], pilot) == 0.0


def test_the_confidence_sequence_ends_where_the_e_value_reaches_its_bound() -> None:
    pilot = Pilot(sigma=0.5, degrees_of_freedom=6)
    differences = [0.4, -0.1, 0.7, 0.5]
    bound = math.log(20)
    wide = radius(differences, pilot, log_threshold=bound)
    mean = sum(differences) / 4
    for edge in (mean - wide, mean + wide):
        moved = [one - edge for one in differences]
        assert log_e_value(moved, pilot) == pytest.approx(bound, rel=1e-6)
    assert radius([], pilot, log_threshold=bound) == math.inf


@pytest.mark.parametrize("degrees_of_freedom", [2, 8, 30])
def test_an_e_value_is_one_on_average_where_nothing_differs(degrees_of_freedom: int) -> None:
    # One difference's part of all squares then follows a beta distribution.
    def weighed(part: float) -> float:
        sigma = math.sqrt((1 / part - 1) / degrees_of_freedom)
        pilot = Pilot(sigma=sigma, degrees_of_freedom=degrees_of_freedom)
        density = float(beta.pdf(part, 0.5, degrees_of_freedom / 2))
        return density * math.exp(log_e_value([1.0], pilot))

    pieces = [quad(weighed, *piece)[0] for piece in ((1e-12, 0.1), (0.1, 0.9), (0.9, 1 - 1e-12))]
    assert sum(pieces) == pytest.approx(1.0, abs=1e-3)


def test_a_cell_is_stopped_early_only_by_drift_that_was_measured() -> None:
    pilot, settings = Pilot(sigma=0.001, degrees_of_freedom=8), RaceSettings()
    assert early_stop(9.0, [(0.1, 0.0)] * 2, pilot, settings, looks=10) == (
        False,
        "drift is not known: too few cells were trained to their end",
    )
    pairs = [(0.02, 0.01), (0.01, 0.02), (0.03, 0.02), (0.0, 0.01)]
    drift = measured_drift(pairs)
    assert drift is not None and drift.deviation == pytest.approx(0.01)
    assert not early_stop(0.02, pairs, pilot, settings, looks=10)[0]
    stopped, reason = early_stop(0.05, pairs, pilot, settings, looks=10)
    assert stopped and "is beyond 0.0461, what drift (0.0100 over 4 pairs)" in reason


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, "alpha of the race is 0.0; it must be between 0 and 1"),
        ({"smallest_difference": 0.0}, "it must be a number above 0, for example 0.005"),
        ({"most_seeds": 0}, "it must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RaceSettings(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sigma is 0"):
        Pilot(sigma=0, degrees_of_freedom=3)
