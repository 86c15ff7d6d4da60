"""A plan: every cell solved or refused."""

from __future__ import annotations

from typing import Any

import pytest

from tune_app.plan.plan import make_plan
from tune_app.plan.space import Space, load_space
from tune_app.plan.wishes import Wishes


@pytest.mark.parametrize("name", ["quick", "embedding_glu"])
def test_all_twelve_cells_meet_the_budget_and_both_ratios(name: str) -> None:
    plan = make_plan(load_space(name), Wishes())
    assert plan.name == plan.space == name
    assert len(plan.feasible) == len(plan.cells) == 12
    for cell in plan.cells:
        assert cell.parameters is not None
        assert cell.config is not None
        values = cell.values
        assert cell.parameters["total"] == pytest.approx(values["target_parameters"], rel=0.005)
        assert cell.parameters["embedding_share"] == pytest.approx(
            values["embedding_ratio"], abs=0.01
        )
        expansion = cell.config["d_ff"] / cell.config["d_model"]
        assert expansion == pytest.approx(values["glu_expansion"], rel=0.02)


def test_wishes_replace_what_the_space_says() -> None:
    plan = make_plan(
        load_space("quick"), Wishes(name="mine", set=(("tokens", 1_000_000),), seeds=(0, 1))
    )
    assert plan.name == "mine"
    assert plan.tokens == 1_000_000
    assert len(plan.cells) == 24
    assert plan.axes[-1] == "seed"
    assert len({cell.label for cell in plan.cells}) == 24


def test_a_baseline_in_whole_numbers_is_the_cell_of_the_grid() -> None:
    space = Space(name="x", axes={"glu_expansion": [2.0, 3.0]}, baseline={"glu_expansion": 3})
    assert len(make_plan(space, Wishes()).cells) == 2


def test_an_infeasible_cell_is_kept_with_its_reason() -> None:
    space = Space(name="x", axes={"embedding_ratio": [0.35, 0.99]})
    plan = make_plan(space, Wishes())
    assert [cell.config is None for cell in plan.cells] == [False, True]
    assert "nearest" in plan.cells[1].reason


@pytest.mark.parametrize(
    ("space", "wishes", "message"),
    [
        ({"embedding_ratio": [0.25]}, {"set": (("target_parameters", 9),)}, "the baseline itself"),
        ({"tokens": [1_000, 2_000]}, {}, "tokens differs between cells"),
        ({"n_heads": [4]}, {"name": "../up"}, "'../up'; it names a folder"),
        ({"n_heads": [4]}, {"name": "a/b"}, "'a/b'; it names a folder"),
        ({"n_heads": [4]}, {"set": (("seed", 3),)}, "name seeds with --seeds"),
        ({"n_heads": [4]}, {"set": (("learning_rate", "fast"),)}, "learning_rate is 'fast'"),
        ({"n_heads": [4]}, {"set": (("deterministic", "no"),)}, "deterministic is 'no'"),
    ],
)
def test_impossible_sweeps_are_refused(
    space: dict[str, Any], wishes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(Space(name="x", axes=space), Wishes(**wishes))
