"""A plan: every cell solved or refused."""

from __future__ import annotations

from typing import Any

import pytest

from model.sizing.budget import InfeasibleBudget
from tune_app.plan.cell import Cell
from tune_app.plan.plan import make_plan
from tune_app.plan.solved import SolvedModels
from tune_app.plan.space import Space
from tune_app.plan.space_file import load_space
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
        ({"n_heads": [4]}, {"set": (("seed", 3),)}, "use --seeds"),
        ({"n_heads": [4]}, {"set": (("learning_rate", "fast"),)}, "learning_rate is 'fast'"),
        ({"n_heads": [4]}, {"set": (("deterministic", "no"),)}, "deterministic is 'no'"),
    ],
)
def test_impossible_sweeps_are_refused(
    space: dict[str, Any], wishes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(Space(name="x", axes=space), Wishes(**wishes))


def test_cells_of_one_pinned_shape_differ_in_the_size_that_is_free() -> None:
    space = Space(
        name="x",
        axes={"feed_forward": ["swiglu", "relu_squared"]},
        fixed={"d_model": 220, "n_layers": 8, "embedding_ratio": None, "glu_expansion": None},
    )
    plan = make_plan(space, Wishes())
    gated, plain = (dict(cell.config or {}) for cell in plan.feasible)
    assert plan.baseline.config == gated
    assert {name for name in gated if gated[name] != plain[name]} == {"feed_forward", "d_ff"}
    assert (gated["d_model"], gated["n_layers"]) == (220, 8)


def test_a_pin_that_contradicts_the_share_of_the_baseline_says_what_to_leave_free() -> None:
    space = Space(name="x", axes={"feed_forward": ["swiglu"]})
    with pytest.raises(ValueError, match=r"d_model 256 .* or leave embedding_ratio free \(None\)"):
        make_plan(space, Wishes(set=(("d_model", 256),)))


def test_a_cell_that_pins_a_size_is_compared_with_a_baseline_that_does_not() -> None:
    values = {"d_model": 256, "embedding_ratio": None}
    cell = Cell.from_values(values)
    assert (cell.model.d_model, cell.model.embedding_ratio) == (256, None)
    assert (cell.baseline.d_model, cell.baseline.embedding_ratio) == (None, 0.35)
    assert Cell.from_values(cell.values()) == cell
    assert cell.key != Cell.from_values({}).key
    assert Cell.from_values({"d_model": None, "norm": "rms_norm"}).key == Cell.from_values({}).key


def test_labels_say_what_is_free() -> None:
    space = Space(
        name="x",
        axes={"embedding_ratio": [0.35, None], "n_layers": [None, 10]},
        baseline={"n_layers": None},
    )
    labels = [cell.label for cell in make_plan(space, Wishes()).cells]
    assert labels == ["35% × free", "35% × 10", "free × free", "free × 10"]


def test_an_infeasible_baseline_of_a_feasible_cell_is_named() -> None:
    values = {"target_parameters": 300_000, "vocab_size": 512, "n_heads": 2}
    cell = Cell.from_values({**values, "embedding_ratio": 0.2})
    with pytest.raises(InfeasibleBudget, match=r"the cell's baseline, .* is infeasible: No width"):
        SolvedModels.of(cell)
