"""The spaces that vary the tokenizer: what they hold equal, and what does not fit."""

from __future__ import annotations

import pytest

from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan, make_plan
from tune_app.plan.space import Space
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Wishes


def planned(space: str) -> SweepPlan:
    return make_plan(load_space(space), Wishes())


@pytest.mark.parametrize("prefix", ["", "quick_"])
def test_superbpe_varies_the_tokenizer_alone(prefix: str) -> None:
    plan = planned(f"{prefix}superbpe")
    assert [one.kind for one in plan.tokenizers] == ["byte_level_bpe", "superbpe", "superbpe"]
    assert len({str(cell.config) for cell in plan.cells}) == 1
    usual = planned(prefix.rstrip("_") or "embedding_glu").baseline
    assert plan.baseline.key == usual.key, "a baseline that was trained already"


@pytest.mark.parametrize("prefix", ["", "quick_"])
def test_a_vocabulary_is_paid_for_in_depth_until_it_does_not_fit(prefix: str) -> None:
    plan = planned(f"{prefix}vocabulary")
    configs = [cell.config for cell in plan.feasible if cell.config]
    assert len({config["d_model"] for config in configs}) == 1
    by_size = {config["vocab_size"]: config["n_layers"] for config in configs}
    assert by_size[max(by_size)] < by_size[min(by_size)] / 2
    (refused,) = (cell for cell in plan.cells if cell.config is None)
    assert refused.values["vocab_size"] == 2 * max(by_size)
    assert "the embedding alone is 1" in refused.reason and "lower the vocab" in refused.reason


def test_a_default_that_is_named_makes_no_second_cell_and_changes_no_key() -> None:
    axes = {"tokenizer_options": [{}, {"transition": 0.9}, {"max_words": 4}, {"transition": 0.8}]}
    fixed = {"tokenizer": "superbpe", "target_parameters": 1_000_000, "vocab_size": 4_096}
    plan = make_plan(Space(name="x", axes=axes, fixed=fixed), Wishes())
    found = [cell.values["tokenizer_options"] for cell in plan.cells]
    assert found == [{}, {"transition": 0.8}]
    plain = Cell.from_values(fixed)
    named = Cell.from_values({**fixed, "tokenizer_options": {"transition": 0.9}})
    assert plain.meaning == named.meaning
    assert plain.key != named.key, "both are in journals"
