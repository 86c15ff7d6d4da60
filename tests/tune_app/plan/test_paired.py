"""Axes whose values vary together, and the spaces that use them to tell share from shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.sizing.budget import solve
from tune_app.api.settings import space_of
from tune_app.plan.cell import Cell
from tune_app.plan.plan import make_plan
from tune_app.plan.space import SpaceError, expand, space_from
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Wishes

PAIRED = {("embedding_ratio", "vocab_size"): [(0.25, 2_900), (0.35, "4k"), [0.45, 5_200]]}


def cells(axes: dict[Any, Any], **names: Any) -> list[Cell]:
    space = space_from({"AXES": axes, **names}, name="mine", source="the space")
    return list(expand(space, {}, seeds=[0]).cells)


def test_paired_values_vary_together_and_other_axes_with_their_rows() -> None:
    axes = {"n_heads": [1, 2], **PAIRED, "context": [64, 128]}
    found = cells(axes, BASELINE={"vocab_size": 4_000, "n_heads": 1, "context": 64})
    models = [
        (cell.model.n_heads, cell.model.embedding_ratio, cell.model.vocab_size, cell.model.context)
        for cell in found
    ]
    rows = [(0.25, 2_900), (0.35, 4_000), (0.45, 5_200)]
    assert models[0] == (1, 0.35, 4_000, 64)
    assert sorted(models) == [
        (heads, share, vocabulary, context)
        for heads in (1, 2)
        for share, vocabulary in rows
        for context in (64, 128)
    ]


def test_the_plan_and_the_names_of_its_cells_have_each_setting_as_an_axis() -> None:
    fixed = {"target_parameters": 950_000, "n_heads": 2, "d_model": 82}
    names = {"AXES": PAIRED, "FIXED": fixed, "BASELINE": {"vocab_size": 4_000}}
    plan = make_plan(space_of(names, name="mine"), Wishes())
    assert plan.axes == ("embedding_ratio", "vocab_size")
    assert plan.paired == (plan.axes,)
    assert [cell.label for cell in plan.cells] == ["35% × 4,000", "25% × 2,900", "45% × 5,200"]
    assert space_of(PAIRED, name="mine").paired == tuple(PAIRED), "axes alone"
    with pytest.raises(ValueError, match=r"^vocab_size is an axis of the space 'mine'"):
        make_plan(space_of(names, name="mine"), Wishes(vocab_size=4_000))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({("n_heads",): [(1,)]}, "n_heads is in a tuple of 1; a paired axis names two settings"),
        ({(): []}, "an axis is in a tuple of 0; "),
        ({("n_heads", 3): [(1, 2)]}, "3 is no name of a setting"),
        ({3: [1, 2]}, "3 is no name of a setting"),
        ({("n_heads", "context"): 3}, r"n_heads, context is 3; paired axes need a list of rows"),
        ({("n_heads", "context"): []}, "paired axes need a list of rows"),
        (
            {("n_heads", "context"): [(1, 64), (2,)]},
            r"n_heads, context: the row \(2,\) has 1 value for 2 settings; give one for each of "
            r"\(n_heads, context\)",
        ),
        ({("n_heads", "context"): [(1, 64, 3)]}, "has 3 values for 2 settings"),
        ({("n_heads", "context"): ["ab"]}, "the row 'ab' has 1 value for 2 settings"),
        ({("n_heads", "context"): [(1, 2)], "n_heads": [1]}, "n_heads is in two axes"),
        ({("n_heads", "n_heads"): [(1, 2)]}, "n_heads is in two axes"),
        ({("n_heads", "heads"): [(1, 2)]}, "unknown setting 'heads'"),
        ({("seed", "n_heads"): [(1, 2)]}, "seed cannot be set as a value"),
        ({("n_heads", "context"): [(1, "wide")]}, "context is 'wide'"),
    ],
)
def test_what_cannot_be_paired_is_refused(axes: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cells(axes)


def test_a_refusal_has_the_line_of_the_pair(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("AXES = {\n 'd_ff': [8],\n ('n_heads', 'context'): [(1,)]}")
    with pytest.raises(SpaceError, match=r"mine.py, line 3: n_heads, context: the row \(1,\) has"):
        load_space(str(path))


def equal(name: str, *sizes: str) -> list[dict[str, Any]]:
    """The solved sizes of a space's cells, after checking that some are equal in all of them."""
    found = []
    for cell in expand(load_space(name), {}, seeds=[0]).cells:
        config = solve(cell.model)
        found.append({**config.values(), "share": config.d_model * config.vocab_size})
    for size in sizes:
        assert len({one[size] for one in found}) == 1, (name, size)
    return found


@pytest.mark.parametrize("prefix", ["", "quick_"])
def test_the_controls_hold_equal_what_they_say(prefix: str) -> None:
    assert len(equal(f"{prefix}share_at_equal_width", "d_model")) == 3
    shape = ("d_model", "n_layers", "n_heads", "head_dim")
    assert len(equal(f"{prefix}share_at_equal_shape", *shape)) == 3
    depths = equal(f"{prefix}share_at_equal_depth", "vocab_size")
    assert len(depths) == 6
    assert len({one["n_layers"] for one in depths}) == 2
    shares = [one["share"] for one in equal(f"{prefix}depth_width")]
    assert max(shares) < 1.02 * min(shares)
