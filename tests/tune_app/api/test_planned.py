"""A sweep planned from Python is the one that the command line plans."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

from tune_app import plan_sweep, run_sweep
from tune_app.api.settings import names_of, settings_of
from tune_app.cluster.options import RunOptions
from tune_app.plan.plan import make_plan
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Wishes

AXES = {"glu_expansion": [2.0, 4.0]}
SMALL = {"target_parameters": 60_000, "vocab_size": 512, "tokens": 1_000}


def test_it_is_the_command_lines_plan() -> None:
    planned = plan_sweep("quick", tokens=300_000, seeds=[0, 1], set={"learning_rate": 1e-3})
    wishes = Wishes(tokens=300_000, seeds=(0, 1), set=(("learning_rate", 1e-3),))
    assert planned.plan == make_plan(load_space("quick"), wishes)
    assert len(planned.cells) == 24
    assert planned.cells["parameters_total"].between(945_250, 954_750).all()


def test_a_space_may_be_a_path_axes_or_what_a_file_defines(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"AXES = {AXES}\nFIXED = {SMALL}\n")
    from_file = plan_sweep(path)
    assert plan_sweep({"AXES": AXES, "FIXED": SMALL}, name="mine").plan == from_file.plan
    assert plan_sweep(AXES, name="mine", **SMALL).plan == from_file.plan
    arrays = {"glu_expansion": np.array([2.0, 4.0])}
    of_numpy = plan_sweep(arrays, name="mine", **{k: np.int64(v) for k, v in SMALL.items()})
    assert of_numpy.plan == from_file.plan
    assert plan_sweep(AXES, name="mine", **SMALL, seeds=range(2)).plan.seeds == (0, 1)


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        ("quik", {}, "unknown search space 'quik'; did you mean quick"),
        (AXES, {}, r"needs a name for its folder: name='mine'"),
        (7, {}, "the space is 7; it must be a name, the path of a .py file, or axes"),
        ({"AXIS": 1, "AXES": {}}, {"name": "a"}, "the space sets unknown AXIS; expected AXES"),
        (
            "quick",
            {"token": 5},
            "unknown setting 'token'; did you mean tokens. expected one of name, corpus",
        ),
        ("quick", {"learning_rate": 1.0}, r"give it as set=\{'learning_rate': 1.0\}"),
        ("quick", {"tokens": "5M"}, "tokens is '5M'; it must be a whole number or none"),
        ("quick", {"kill_rule": "loss"}, "kill_rule is 'loss'; it must be one of ppl, bpb"),
        ("quick", {"name": "a/b"}, "the sweep's name is 'a/b'; it names a folder"),
        ("quick", {"set": {"glu_expansion": 2.0}}, "glu_expansion is an axis of the space"),
    ],
)
def test_mistakes_are_value_errors_in_a_sentence(
    space: object, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_sweep(space, **settings)  # type: ignore[arg-type]


def test_the_settings_are_those_of_the_command_line_and_have_two_types() -> None:
    names = inspect.signature(run_sweep).parameters
    assert [*names] == ["space", "progress", *names_of(Wishes), *names_of(RunOptions)]
    assert not set(names_of(Wishes)) & set(names_of(RunOptions)), "one name, one meaning"
    assert names["cpus"].default == RunOptions().cpus
    with pytest.raises(ValueError, match="cells_at_once is 'two'; it must be a whole number"):
        settings_of(RunOptions, {"cells_at_once": "two"})
    with pytest.raises(ValueError, match="0 cells at once; it must be at least 1"):
        settings_of(RunOptions, {"cells_at_once": 0})
    assert settings_of(RunOptions, {"results": "a/b", "gpus": 1}) == RunOptions(
        results=Path("a/b"), gpus=1.0
    )


def test_it_shows_itself_as_text_and_in_a_notebook() -> None:
    planned = plan_sweep({"glu_expansion": [2.0, 9.0]}, name="mine", corpus="<b>", **SMALL)
    text = repr(planned)
    assert "Sweep mine: 3 cells, 1 of them infeasible, 1.0k tokens each, on <b>" in text
    assert "infeasible 9: No width gives 60k" in text
    assert "d_model" in text and max(map(len, text.splitlines())) <= 120
    html = planned._repr_html_()
    assert "on &lt;b&gt;" in html and "<table" in html
