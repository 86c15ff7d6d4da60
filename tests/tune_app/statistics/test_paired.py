"""Comparisons against what SciPy says about the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tune_app.statistics.bootstrap import document_interval
from tune_app.statistics.effects import main_effects
from tune_app.statistics.multiplicity import dunnett_quantile, dunnett_tail, holm
from tune_app.statistics.noise import Noise
from tune_app.statistics.paired import block_noise, paired
from tune_app.statistics.rates import rate_interval, rate_text


def by_seed(values: object) -> dict[int, float]:
    return dict(enumerate(np.asarray(values, dtype=float).tolist()))


def test_a_paired_comparison_is_scipys() -> None:
    draw = np.random.default_rng(0)
    one = draw.normal(size=6)
    other = one + draw.normal(0.4, 0.5, size=6)
    found = paired(by_seed(one), {**by_seed(other), 99: 1.0})
    known = stats.ttest_rel(other, one)
    low, high = known.confidence_interval(0.95)
    assert found is not None
    assert (found.seeds, found.degrees_of_freedom) == (6, 5)
    assert found.p == pytest.approx(known.pvalue)
    assert found.interval == pytest.approx((low, high))


def test_one_shared_seed_says_nothing_without_known_noise() -> None:
    assert paired({0: 1.0}, {0: 2.0, 1: 2.0}) is None
    noise = Noise(sigma=0.1, degrees_of_freedom=20, runs=25, source="others")
    found = paired({0: 1.0}, {0: 2.0, 1: 2.0}, noise=noise)
    assert found is not None
    assert found.error == pytest.approx(0.1 * 2**0.5)


def test_blocks_are_a_two_way_analysis_of_variance() -> None:
    """The F test of designs in blocks of seeds, by hand, and for two designs the paired t."""
    table = np.random.default_rng(1).normal(size=(4, 5)) + np.arange(5)
    noise = block_noise([by_seed(row) for row in table], of="these")
    rows, columns = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
    residual = ((table - rows - columns + table.mean()) ** 2).sum() / 12
    assert noise is not None
    assert (noise.degrees_of_freedom, noise.sigma**2) == (12, pytest.approx(residual))
    two = block_noise([by_seed(row) for row in table[:2]], of="these")
    assert two is not None
    mine = paired(by_seed(table[0]), by_seed(table[1]), noise=two)
    assert mine is not None
    assert mine.p == pytest.approx(stats.ttest_rel(table[0], table[1]).pvalue)


def test_holm_against_the_worked_example() -> None:
    """Holm's steps on four p-values: 4 × .005, 3 × .01, 2 × .03, and the last no less."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_the_largest_lead_is_dunnetts() -> None:
    draw = np.random.default_rng(2)
    groups = [draw.normal(size=4) + 0.5 * at for at in range(4)]
    known = stats.dunnett(
        *groups[1:], control=groups[0], alternative="greater", rng=np.random.default_rng(3)
    )
    mine = [dunnett_tail(t, others=3, degrees_of_freedom=12) for t in known.statistic]
    assert mine == pytest.approx(known.pvalue, abs=1e-3)
    # Dunnett's table of 1955, one-sided, 5 %: 3 others with 16 degrees of freedom, 5 with 20.
    assert dunnett_quantile(0.05, others=3, degrees_of_freedom=16) == pytest.approx(2.23, abs=0.01)
    assert dunnett_quantile(0.05, others=5, degrees_of_freedom=20) == pytest.approx(2.39, abs=0.01)


@pytest.mark.parametrize("freedom", [1, 2, 8, 40])
def test_one_other_leaves_students_t(freedom: int) -> None:
    tails = [dunnett_tail(t, others=1, degrees_of_freedom=freedom) for t in (0.0, 1.0, 3.0, 20.0)]
    assert tails == pytest.approx(stats.t.sf([0.0, 1.0, 3.0, 20.0], freedom), rel=1e-2, abs=1e-9)


def test_rates_of_few_cases() -> None:
    known = stats.binomtest(2, 17).proportion_ci(0.95, method="exact")
    assert rate_interval(2, 17) == pytest.approx((known.low, known.high))
    assert rate_interval(0, 59)[1] == pytest.approx(1 - 0.025 ** (1 / 59))
    assert rate_text(0, 4) == "0 of 4; under 5 no rate is stated"
    assert rate_text(0, 12) == "0 of 12 (0 %, 95 % interval 0 to 26 %)"


def test_documents_that_differ_alike_give_a_narrow_interval() -> None:
    draw = np.random.default_rng(4)
    one = {seed: draw.normal(2.0, 0.3, size=30).tolist() for seed in range(3)}
    other = {seed: [value + 0.05 for value in values] for seed, values in one.items()}
    assert document_interval(one, other) == pytest.approx((0.05, 0.05))
    noisy = {seed: draw.normal(2.0, 0.3, size=30).tolist() for seed in range(3)}
    found = document_interval(one, noisy)
    assert found is not None
    assert found[0] < 0 < found[1]
    assert found == document_interval(one, noisy)
    with pytest.raises(ValueError, match="score all on the same text"):
        document_interval({0: [1.0, 2.0]}, {0: [1.0]})


def test_main_effects_of_a_whole_grid_are_its_margins() -> None:
    grid = {("a", "x"): 1.0, ("a", "y"): 1.2, ("b", "x"): 1.5, ("b", "y"): 1.9}
    rows = [{"one": one, "two": two, "same": "s"} for one, two in grid]
    first, second = main_effects(rows, list(grid.values()))
    assert [level.value for level in first.levels] == ["a", "b"]
    assert first.levels[1].behind == pytest.approx(0.6)
    assert second.levels[1].behind == pytest.approx(0.3)
    # The residual is ±.05 with one degree of freedom: t = 12.7, standard error .1.
    assert second.levels[1].interval == pytest.approx((0.3 - 1.2706, 0.3 + 1.2706), abs=1e-3)
    assert not second.told_apart


def test_main_effects_of_two_designs_have_no_interval_unless_noise_is_known() -> None:
    rows = [{"width": "64"}, {"width": "80"}]
    (alone,) = main_effects(rows, [2.0, 2.1])
    assert alone.unknown and not alone.told_apart
    noise = Noise(sigma=0.01, degrees_of_freedom=8, runs=9, source="these")
    (known,) = main_effects(rows, [2.0, 2.1], noise=noise)
    assert known.told_apart and not known.unknown


def test_main_effects_of_a_grid_with_a_gap_and_known_noise() -> None:
    grid = {("a", "x"): 1.0, ("a", "y"): 1.2, ("b", "x"): 1.5, ("c", "y"): 1.6}
    rows = [{"one": one, "two": two} for one, two in grid]
    noise = Noise(sigma=0.01, degrees_of_freedom=30, runs=40, source="others")
    first, second = main_effects(rows, list(grid.values()), noise=noise)
    assert [(level.value, round(level.behind, 6)) for level in first.levels] == [
        ("a", 0.0),
        ("c", 0.4),
        ("b", 0.5),
    ]
    assert second.told_apart
    assert [level.designs for level in second.levels] == [2, 2]
