"""Verdicts on made scores whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tune_app.statistics.best import p_text, verdict_of
from tune_app.statistics.noise import Noise


def by_seed(values: object) -> dict[int, float]:
    return dict(enumerate(np.asarray(values, dtype=float).tolist()))


def made(
    draw: np.random.Generator, means: list[float], *, seeds: int, sigma: float = 1.0
) -> dict[str, dict[int, float]]:
    """Scores with seed noise, of which .28 is the same for all designs of a seed."""
    luck = draw.normal(0, sigma * 0.28**0.5, size=seeds)
    return {
        f"design {at}": by_seed(mean + luck + draw.normal(0, sigma * 0.72**0.5, size=seeds))
        for at, mean in enumerate(means)
    }


def test_two_designs_are_students_paired_t() -> None:
    scores = made(np.random.default_rng(0), [0.0, 1.0], seeds=5)
    found = verdict_of(scores)
    known = stats.ttest_rel(list(scores["design 1"].values()), list(scores["design 0"].values()))
    low, high = known.confidence_interval(0.95)
    assert (found.leader, found.runner_up) == ("design 0", "design 1")
    assert found.p == pytest.approx(known.pvalue, abs=1e-4)
    assert found.interval == pytest.approx((low, high), abs=1e-4)
    assert found.behind[0].p == pytest.approx(known.pvalue)


def test_a_wide_lead_names_the_winner() -> None:
    found = verdict_of(made(np.random.default_rng(1), [0, 6, 6.2, 6.4, 7], seeds=3))
    assert found.winner == "design 0"
    assert found.p < 0.01
    assert found.survivors == ("design 0",)
    assert found.reason.startswith("design 0 is better than design 3, which is 5.9955 bpb behind")
    assert found.smallest_shown is not None and found.smallest_found is not None
    assert found.smallest_shown < found.smallest_found < found.margin


def test_equal_designs_cannot_be_told_and_a_loser_is_named() -> None:
    scores = made(np.random.default_rng(2), [0, 0, 0, 0, 0, 12], seeds=3)
    found = verdict_of(scores)
    assert found.winner is None
    assert found.reason.startswith("these data cannot tell ")
    assert [one.name for one in found.behind if one.told_apart] == ["design 5"]
    assert found.behind[-1].p < 0.01


def test_equal_within_what_matters_is_more_than_cannot_tell() -> None:
    scores = made(np.random.default_rng(3), [1, 1], seeds=8, sigma=0.001)
    assert verdict_of(scores, smallest_difference=0.005).equal
    assert not verdict_of(scores, smallest_difference=0.0005).equal


def test_noise_of_other_designs_is_pooled() -> None:
    scores = {"a": {0: 1.00, 1: 1.01}, "b": {0: 1.05, 1: 1.07}}
    alone = verdict_of(scores)
    others = Noise(sigma=0.005, degrees_of_freedom=20, runs=24, source="others")
    together = verdict_of(scores, others=others)
    assert alone.winner is None
    assert alone.noise is not None and alone.noise.degrees_of_freedom == 1
    assert together.winner == "a"
    assert together.noise is not None and together.noise.degrees_of_freedom == 21


def test_without_repetition_nothing_is_told_apart() -> None:
    found = verdict_of({"a": {0: 1.0}, "b": {0: 3.0}})
    assert (found.winner, found.runner_up, found.p) == (None, "b", 1.0)
    assert "nothing was trained twice" in found.reason
    same = verdict_of({"a": {0: 1.0, 1: 1.0}, "b": {0: 3.0, 1: 3.0}})
    assert same.winner is None
    assert "exactly the same" in same.reason
    alone = verdict_of({"a": {0: 1.0, 1: 1.1}})
    assert (alone.winner, alone.runner_up, alone.behind) == (None, None, ())


def test_designs_without_a_common_seed_are_refused() -> None:
    with pytest.raises(ValueError, match="no seed in common"):
        verdict_of({"a": {0: 1.0}, "b": {1: 1.0}})
    with pytest.raises(ValueError, match="no designs have no seed"):
        verdict_of({})


def error_rates(runs: int, *, seed: int) -> tuple[int, int]:
    """False verdicts among equal designs, and right ones at a true gap of 5 σ, of so many."""
    draw = np.random.default_rng(seed)
    false = right = 0
    for _ in range(runs):
        false += verdict_of(made(draw, [0.0] * 6, seeds=3)).winner is not None
        gap = verdict_of(made(draw, [0.0, 5, 5, 5, 5, 5], seeds=3))
        right += gap.winner == "design 0"
    return false, right


def test_error_rates_of_simulated_verdicts() -> None:
    false, right = error_rates(100, seed=5)
    assert false <= 5
    assert right >= 80


@pytest.mark.slow
def test_error_rates_of_two_thousand_simulated_verdicts() -> None:
    false, right = error_rates(2_000, seed=6)
    assert false <= 0.05 * 2_000
    assert right >= 0.8 * 2_000


def test_p_values_as_people_write_them() -> None:
    assert [p_text(p) for p in (0.5, 0.0312, 0.00001, 1.0)] == [
        "p = .5",
        "p = .0312",
        "p < .0001",
        "p = 1",
    ]
