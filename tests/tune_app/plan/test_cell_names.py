"""Names of cells: short, values first, and no two alike, whatever the values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tune_app.plan.cell_names import CellNames
from tune_app.plan.labels import spans_decades
from tune_app.plan.plan import make_plan
from tune_app.plan.shortening import narrowed, shortened
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes


def names(axes: Mapping[str, Sequence[Any]], *more: Mapping[str, Any]) -> list[str]:
    cells = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    found = CellNames([*cells, *more], list(axes)).all()
    assert len(set(found)) == len(found)
    return found


def test_values_come_first_and_the_title_names_them() -> None:
    axes = {"learning_rate": [0.00316228], "feed_forward": ["geglu"], "n_heads": [4, None]}
    assert names(axes) == ["0.0032 × geglu × 4", "0.0032 × geglu × free"]
    assert CellNames([], list(axes)).title == "learning rate × feed-forward × heads"


def test_numbers_have_the_digits_that_tell_them_apart() -> None:
    drawn = [0.0031622776, 0.0031699, 1e-05, 2.5e-4]
    assert names({"learning_rate": drawn, "n_heads": [2]}) == [
        "0.00316 × 2",
        "0.00317 × 2",
        "1e-05 × 2",
        "0.00025 × 2",
    ]
    assert names({"embedding_ratio": [0.35, 0.283491, 0.2839273], "glu_expansion": [2.66]}) == [
        "35% × 2.66",
        "28.3% × 2.66",
        "28.4% × 2.66",
    ]
    # A difference in the last bit is still a difference.
    assert len(names({"learning_rate": [0.1, 0.1 + 1e-16, 0.30000000000000004, 0.3]})) == 4


def test_what_is_listed_is_shown_as_it_is_listed() -> None:
    assert names({"glu_expansion": [2.0, 2.66, 3.0, 4.0]}) == ["2", "2.66", "3", "4"]
    assert names({"vocab_size": [4_096, 16_000], "gradient_clip": [float("inf")]}) == [
        "4,096 × inf",
        "16,000 × inf",
    ]


def test_a_lone_number_has_its_axis() -> None:
    assert names({"n_heads": [2, None]}) == ["heads 2", "heads free"]
    assert names({"deterministic": [True]}) == ["deterministic True"]
    assert names({"embedding_ratio": [0.25, 0.2875]}) == ["25%", "28.75%"]


def test_long_names_are_shortened_and_stay_different() -> None:
    files = [{"file": f"/data/{at}/tokenizer.json", "sha256": "0" * 64} for at in "ab"]
    assert names({"tokenizer_options": [*files, {}]}) == [
        "/data/a/tokenizer.json",
        "/data/b/tokenizer.json",
        "{}",
    ]
    long = [f"{'the same beginning of a name ' * 3}{at} and the same end" for at in (1, 2)]
    assert all(len(name) <= 24 for name in names({"schedule": long}))
    hostile = ["$a$", "$b$ [red]", "_x", "<b>", "line\nbreak", ""]
    assert "line break" in names({"schedule": hostile})


def test_shortened_texts_keep_the_part_in_which_they_differ() -> None:
    files = [f"/data/tok/first_tokenizer_v{at}_16k.json" for at in (1, 2)]
    assert shortened([*files, "x"], 10) == ["…r_v1_16k…", "…r_v2_16k…", "x"]
    assert shortened(["a long name", "another name"], 8) == ["a lon…me", "anoth…me"]
    assert shortened(["ab" * 40], 5) == ["aba…b"]
    assert shortened([], 5) == []
    names = [f"0.0001 × {file} × 4" for file in files]
    assert narrowed(names, 20) == ["0.0001 × …_v1_1… × 4", "0.0001 × …_v2_1… × 4"]
    assert all(len(name) <= 8 for name in narrowed(names, 8))


def test_a_baseline_that_differs_off_the_axes_says_in_what() -> None:
    space = Space(name="x", axes={"glu_expansion": [2.0, 2.66]}, baseline={"feed_forward": "reglu"})
    labels = [cell.label for cell in make_plan(space, Wishes()).cells]
    assert labels == ["2.66 (feed-forward reglu)", "2", "2.66"]
    labels = [cell.label for cell in make_plan(space, Wishes(seeds=(0, 1))).cells]
    assert labels[:3] == [
        "2.66 (feed-forward reglu) × seed 0",
        "2.66 (feed-forward reglu) × seed 1",
        "2 × seed 0",
    ]


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ([256, 512, 1024], True),
        ([1e-4, 3e-4, 1e-3], True),
        ([1e-4, 1e-2], True),
        ([4, 8, 12, 16], False),
        ([2.0, 2.66, 3.0, 4.0], False),
        ([0.0, 1.0, 100.0], False),
        ([1e-3, 4e-3], False),
        ([1.0, float("inf")], False),
        (["a", "b"], False),
        ([1], False),
    ],
)
def test_values_over_decades_have_a_logarithmic_scale(values: list[Any], logarithmic: bool) -> None:
    assert spans_decades(values) is logarithmic


def test_a_setting_that_follows_from_an_axis_is_not_told() -> None:
    space = Space(name="x", axes={"optimizer": ["adamw", "muon"]}, fixed={})
    plan = make_plan(space, Wishes(target_parameters=1_000_000, vocab_size=4_096))
    assert [cell.label for cell in plan.cells] == ["adamw", "muon"]
    assert [cell.values["parametrization"] for cell in plan.cells] == [
        "complete_p",
        "complete_p_zero",
    ]
    apart = Space(name="x", axes=space.axes, fixed={}, baseline={"parametrization": "depth_mup"})
    plan = make_plan(apart, Wishes(target_parameters=1_000_000, vocab_size=4_096))
    assert plan.cells[0].label == "adamw (parametrization depth_mup)"
