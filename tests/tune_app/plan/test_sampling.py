"""Draws from distributions: the same again, feasible, and kept when more are asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from tests.readme import python_of_the_readme
from tune_app.plan.plan import make_plan
from tune_app.plan.sampling import RandomSampler, Told, feasible_draws
from tune_app.plan.space import Space, SpaceError
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Wishes

LEARNING_RATE = {"learning_rate": FloatDistribution(1e-4, 1e-2, log=True)}
SHARES = {"embedding_ratio": FloatDistribution(0.02, 0.9)}
FIXED = {"target_parameters": 300_000, "vocab_size": 512, "context": 64, "tokens": 20_000}


def space(axes: Mapping[str, Any] = SHARES, samples: int = 5, **fixed: Any) -> Space:
    return Space(
        name="x",
        axes=axes,
        samples=samples,
        fixed={**FIXED, **fixed},
        baseline={"embedding_ratio": 0.2},
    )


def test_draws_are_the_same_again_and_more_of_them_begin_alike() -> None:
    few = RandomSampler(seed=3).ask(LEARNING_RATE, told=[], count=4)
    assert all(1e-4 <= draw["learning_rate"] <= 1e-2 for draw in few)
    assert RandomSampler(seed=3).ask(LEARNING_RATE, told=[], count=9)[:4] == few
    told = [Told(values=values) for values in few]
    more = RandomSampler(seed=3).ask(LEARNING_RATE, told=told, count=5)
    assert RandomSampler(seed=3).ask(LEARNING_RATE, told=[], count=9)[4:] == more
    assert RandomSampler(seed=4).ask(LEARNING_RATE, told=[], count=4) != few


def test_infeasible_draws_are_drawn_again() -> None:
    plan = make_plan(space(), Wishes())
    assert len(plan.feasible) == len(plan.cells) == 1 + 5
    assert len({cell.values["embedding_ratio"] for cell in plan.cells}) == 6
    (note,) = plan.notes
    assert "draws had no solution at the parameter budget; others were drawn" in note


def test_more_samples_keep_the_cells_of_fewer() -> None:
    axes = {**SHARES, "feed_forward": ["swiglu", "relu_squared"]}
    few = {cell.key for cell in make_plan(space(axes, 3), Wishes()).cells}
    more = {cell.key for cell in make_plan(space(axes, 6), Wishes(seeds=(0, 1))).cells}
    assert few < more and (len(few), len(more)) == (1 + 2 * 3, 2 * (1 + 2 * 6))


def test_equal_draws_are_one() -> None:
    layers = {"n_heads": IntDistribution(1, 3)}
    plan = make_plan(space(layers, 4, embedding_ratio=0.2), Wishes())
    assert sorted(cell.values["n_heads"] for cell in plan.cells[1:]) == [1, 2, 3]
    (note,) = plan.notes
    assert note == "only 3 of 4 draws: of 3 different ones, 0 are infeasible"


def test_a_combination_without_draws_says_how_many_were_tried_and_why() -> None:
    axes = {"glu_expansion": FloatDistribution(2.0, 3.0), "embedding_ratio": [0.2, 0.95]}
    plan = make_plan(space(axes, 1), Wishes())
    assert [cell.config is None for cell in plan.cells] == [False, False, True]
    *_, note = plan.notes
    assert note.startswith(
        "only 0 of 1 draws for embedding_ratio 0.95: of 20 different ones, 20 are infeasible, "
        "the last one because no width gives 300k"
    )
    with pytest.raises(
        SpaceError, match=r"no draw from glu_expansion is feasible, of 20 .*: No width gives"
    ):
        make_plan(space({**axes, "embedding_ratio": [0.95]}, 1), Wishes())


def test_what_no_draw_can_change_is_not_redrawn() -> None:
    """Learning rates do not decide whether a shape has a solution."""
    plan = make_plan(space({**LEARNING_RATE, "embedding_ratio": [0.2, 0.95]}, 2), Wishes())
    assert [cell.config is None for cell in plan.cells] == [False, False, False, True]
    assert plan.notes == ()
    first, _, infeasible = (cell.values["learning_rate"] for cell in plan.cells[1:])
    assert infeasible == first, "as in sweeps that drew again"
    with pytest.raises(SpaceError, match="no combination of the space is feasible; the first one"):
        make_plan(space({**LEARNING_RATE, "embedding_ratio": [0.95]}, 2), Wishes())


def test_few_different_draws_are_told_where_they_could_be_trained() -> None:
    axes = {"batch_size": IntDistribution(4, 6), "embedding_ratio": [0.2, 0.95]}
    plan = make_plan(space(axes, 4), Wishes())
    assert [cell.config is None for cell in plan.cells] == [False] * 4 + [True]
    (note,) = plan.notes
    assert note.startswith("only 3 of 4 draws for embedding_ratio 0.2: of 3 different ones, 0 are")


def test_only_what_decides_sizes_is_blamed_and_only_what_was_replaced_is_counted() -> None:
    drawn = {**LEARNING_RATE, "n_heads": IntDistribution(1, 64)}
    with pytest.raises(SpaceError, match="no draw from n_heads is feasible, of "):
        make_plan(space({**drawn, "embedding_ratio": [0.95]}, 1), Wishes())
    replaced, short = make_plan(space({**drawn, "embedding_ratio": [0.2, 0.95]}, 1), Wishes()).notes
    number, tried = (int(word) for word in replaced.split() if word.isdecimal())
    assert tried == number + 1, "those of the combination that has its draw"
    assert short.startswith("only 0 of 1 draws for embedding_ratio 0.95")


def test_another_sampler_learns_of_every_earlier_draw() -> None:
    class Counting:
        def ask(
            self, distributions: Mapping[str, Any], *, told: Sequence[Told], count: int
        ) -> list[dict[str, Any]]:
            return [{"n_heads": len(told) + at} for at in range(count)]

    odd, none = feasible_draws(
        Counting(), {}, [lambda draw: draw["n_heads"] % 2 == 1, lambda _: False], wanted=3
    )
    assert [draw["n_heads"] for draw in odd.kept] == [1, 3, 5]
    assert [draw["n_heads"] for draw in odd.infeasible] == [0, 2, 4]
    assert not none.kept and none.tried == 60


def test_the_plan_knows_which_axes_are_drawn_on_a_logarithmic_scale() -> None:
    axes = {**LEARNING_RATE, **SHARES, "n_heads": [2, 4]}
    assert make_plan(space(axes, 1), Wishes()).log_axes == ("learning_rate",)


def test_the_space_of_the_readme_is_planned(tmp_path: Path) -> None:
    file = tmp_path / "rates.py"
    file.write_text(python_of_the_readme("## Your own space"), "utf-8")
    plan = make_plan(load_space(str(file)), Wishes())
    assert len(plan.feasible) == len(plan.cells) == 7
    assert plan.log_axes == ("learning_rate",)


def test_optuna_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("optuna")  # which has handlers of its own and does not propagate
    log.addHandler(caplog.handler)
    try:
        make_plan(space(LEARNING_RATE, 1, embedding_ratio=0.2), Wishes())
        assert caplog.records == []
        log.warning("heard")
        assert len(caplog.records) == 1
    finally:
        log.removeHandler(caplog.handler)
