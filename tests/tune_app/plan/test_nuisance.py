"""Nuisance axes in a space: which cells they make, and what is no nuisance."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tune_app.sweeps import planned
from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan, make_plan
from tune_app.plan.space import Space, SpaceError, expand
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Wishes

AXES = "AXES = {'feed_forward': ['swiglu', 'relu_squared']}\n"


def plan_of(folder: Path, text: str, **wishes: tuple[tuple[str, object], ...]) -> SweepPlan:
    path = folder / "mine.py"
    path.write_text(text)
    return make_plan(load_space(str(path)), Wishes(**wishes))  # type: ignore[arg-type]


def test_every_design_is_tried_at_every_value_the_baseline_first() -> None:
    plan = planned(
        expansions=(2.66, 4.0), seeds=(0, 1), nuisance={"learning_rate_factor": [0.5, 1]}
    )
    assert [cell.label for cell in plan.cells] == [
        *("2.66 × 1 × seed 0", "2.66 × 1 × seed 1", "2.66 × 0.5 × seed 0", "2.66 × 0.5 × seed 1"),
        *("4 × 0.5 × seed 0", "4 × 0.5 × seed 1", "4 × 1 × seed 0", "4 × 1 × seed 1"),
    ]
    assert plan.nuisance == ("learning_rate_factor",)
    assert plan.axes == ("glu_expansion", "learning_rate_factor", "seed")
    assert plan.nuisance_text == (
        "learning rate factor 0.5, 1: designs are compared at their best, chosen on seed 0 and "
        "scored on seed 1"
    )
    without = planned(expansions=(2.66, 4.0), seeds=(0, 1))
    at_one = [cell.key for cell in plan.cells if cell.values["learning_rate_factor"] == 1]
    assert at_one == [cell.key for cell in without.cells], "they are adopted when a sweep has it"
    assert without.nuisance_text == ""
    one_seed = planned(nuisance={"learning_rate_factor": [0.5, 1]})
    assert "chosen and scored on seed 0, which is optimistic" in one_seed.nuisance_text


def test_the_factor_multiplies_the_rate_of_the_cell_alone() -> None:
    cell = Cell.from_values({"learning_rate_factor": 2})
    assert cell.training_config().learning_rate_factor == 2
    assert cell.training_config().learning_rate == Cell.from_values({}).settings.learning_rate
    assert cell.key != Cell.from_values({}).key


def test_draws_and_duplicates_go_with_it() -> None:
    import optuna.distributions

    space = Space(
        name="drawn",
        axes={"glu_expansion": optuna.distributions.FloatDistribution(2.0, 4.0)},
        nuisance={"learning_rate_factor": [1, 2.0, 1.0, 2]},
        fixed={"target_parameters": 1_000_000, "vocab_size": 4_096, "tokens": 1_000},
        samples=2,
    )
    cells = expand(space, {}, seeds=[0]).cells
    designs = [(one.model.glu_expansion, one.settings.learning_rate_factor) for one in cells]
    assert [rate for _, rate in designs] == [1, 2] * 3, "the baseline and two draws"
    assert len({expansion for expansion, _ in designs}) == 3


def test_a_baseline_of_another_value_is_among_them() -> None:
    plan = make_plan(
        Space(
            name="x",
            axes={"feed_forward": ["swiglu", "reglu"]},
            nuisance={"schedule": ["wsd"], "weight_decay": [0.0, 0.1]},
            baseline={"schedule": "wsd"},
        ),
        Wishes(),
    )
    assert [cell.values["weight_decay"] for cell in plan.cells] == [0.1, 0.0, 0.0, 0.1]
    assert {cell.values["schedule"] for cell in plan.cells} == {"wsd"}


@pytest.mark.parametrize(
    ("nuisance", "message"),
    [
        ("['learning_rate_factor']", "mine.py, line 2: NUISANCE must map names to values"),
        (
            "{'learning_rate_factor': []}",
            "line 2: NUISANCE: learning_rate_factor is []; it must be",
        ),
        ("{'learning_rate_factor': 2}", "learning_rate_factor is 2; it must be a list of values, "),
        ("{'seed': [0, 1]}", "NUISANCE: seed is not a nuisance axis; use --seeds"),
        ("{'feed_forward': ['reglu']}", "NUISANCE: feed_forward is a setting of the model; a nuis"),
        ("{'tokens': [5, 6]}", "NUISANCE: tokens is a setting of the budget, the text or the sco"),
        ("{'lerning_rate_factor': [1]}", "'lerning_rate_factor' of training; did you mean learnin"),
        ("{('weight_decay', 'betas'): [1]}", "NUISANCE: unknown setting ('weight_decay', 'betas')"),
        (
            "{'weight_decay': [0.1]}\nFIXED = {'weight_decay': 0}",
            "weight_decay is in FIXED as well",
        ),
        ("{'weight_decay': [0.1, -1]}", "weight_decay is -1.0; it must be 0 or more"),
        ("{'learning_rate_factor': [1, 0]}", "learning_rate_factor is 0.0; it must be positive an"),
        ("{'learning_rate_factor': [1, float('nan')]}", "learning_rate_factor is nan; it must be "),
        ("{'learning_rate_factor': [1, 'fast']}", "learning_rate_factor is 'fast'; it must be a n"),
        (
            "{'learning_rate_factor': [0.5, 2]}",
            "line 2: NUISANCE: learning_rate_factor is 0.5, 2, but the baseline has 1, which is "
            'not among them; add it, or set BASELINE = {"learning_rate_factor": 0.5}',
        ),
    ],
)
def test_what_is_no_nuisance_is_refused(tmp_path: Path, nuisance: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        plan_of(tmp_path, f"{AXES}NUISANCE = {nuisance}\n")
    assert message in str(raised.value)


def test_a_nuisance_is_neither_an_axis_nor_set_as_well(tmp_path: Path) -> None:
    text = "AXES = {'weight_decay': [0.1, 0.2]}\nNUISANCE = {'weight_decay': [0.1]}\n"
    with pytest.raises(SpaceError, match="NUISANCE: weight_decay is in AXES as well; keep it in"):
        plan_of(tmp_path, text)
    text = f"{AXES}NUISANCE = {{'weight_decay': [0.1, 0.2]}}\n"
    with pytest.raises(ValueError, match="weight_decay is an axis of the space 'mine', so it can"):
        plan_of(tmp_path, text, set=(("weight_decay", 0.3),))
