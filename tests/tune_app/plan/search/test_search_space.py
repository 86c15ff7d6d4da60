"""Conditional spaces: what a design has, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from tune_app.plan.search.space import Parameter, search_space
from tune_app.plan.space import SpaceError, space_from

SEARCH: dict[Any, Any] = {
    "feed_forward": ["swiglu", "moe"],
    "glu_expansion": FloatDistribution(1.0, 4.0),
    ("tokenizer", "tokenizer_options"): [("byte_level_bpe", {}), ("superbpe", {"transition": 0.8})],
}
WHEN: dict[str, Any] = {
    # Before what it names: the order in a file does not matter.
    "n_experts": {8: {"top_k": [1, 2, 4]}, 4: {"top_k": [1, 2]}},
    "feed_forward": {"moe": {"n_experts": [4, 8.0], "shared_experts": IntDistribution(0, 1)}},
}


def first(parameter: Parameter) -> Any:
    return parameter.choices[-1] if parameter.rows else parameter.distribution.high


def test_a_parameter_exists_where_its_condition_holds() -> None:
    space = search_space(SEARCH, WHEN)
    assert [one.name for one in space.parameters] == [
        "feed_forward",
        "glu_expansion",
        "tokenizer, tokenizer_options",
        "n_experts | feed_forward = moe",
        "shared_experts | feed_forward = moe",
        "top_k | n_experts = 8",
        "top_k | n_experts = 4",
    ]
    design = space.chosen(first)
    assert design == {
        "feed_forward": "moe",
        "glu_expansion": 4.0,
        "tokenizer": "superbpe",
        "tokenizer_options": {"transition": 0.8},
        "n_experts": 8,
        "shared_experts": 1,
        "top_k": 4,
    }
    choices = space.choices_of(design)
    assert choices is not None and choices["top_k | n_experts = 8"] == "[4]"
    plain = space.chosen(lambda one: one.choices[0] if one.rows else 2.0)
    assert plain.keys() == {"feed_forward", "glu_expansion", "tokenizer", "tokenizer_options"}
    # No points of this space: a value that does not apply, one that is missing, an unknown one.
    for other in (
        {**plain, "n_experts": 4},
        {**design, "top_k": 3},
        {name: value for name, value in design.items() if name != "top_k"},
    ):
        assert space.choices_of(other) is None
    assert space.axes["top_k"] == [1, 2, 4]
    assert len(space.tokenizers) == 2


@pytest.mark.parametrize(
    ("search", "when", "message"),
    [
        ({"glu_expanson": [2]}, {}, "unknown setting 'glu_expanson'; did you mean glu_expansion?"),
        ({"feed_forward": ["swglu"]}, {}, "did you mean swiglu?"),
        ({"d_model": 64}, {}, "d_model is 64; it must be a list of values, or a distribution"),
        ({"d_model": [64, 64.0]}, {}, "d_model has 64 twice"),
        ({"seed": [0, 1]}, {}, "use --seeds"),
        ({"tokens": [1, 2]}, {}, "tokens is the same for all cells"),
        ({"vocab_size": IntDistribution(1, 9)}, {}, "list the values"),
        ({}, {}, "it must map settings to lists of values"),
        (SEARCH, {"feed_forwad": {"moe": {"top_k": [1]}}}, "did you mean feed_forward?"),
        (SEARCH, {"optimizer": {"muon": {"top_k": [1]}}}, "'optimizer', which is no parameter"),
        (SEARCH, {"feed_forward": {"mo": {"top_k": [1]}}}, "did you mean moe?"),
        (SEARCH, {"glu_expansion": {2.0: {"top_k": [1]}}}, "which is a distribution"),
        (SEARCH, {"feed_forward": ["moe"]}, "it must map a setting to its values"),
        (
            SEARCH,
            {"feed_forward": {"moe": {"glu_expansion": [2.0]}}},
            "glu_expansion is in two parameters that one design may have",
        ),
        (
            SEARCH,
            {"top_k": {1: {"n_experts": [4]}}, "n_experts": {4: {"top_k": [1]}}},
            "go in a circle",
        ),
    ],
)
def test_a_space_that_cannot_be_is_refused(search: Any, when: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?").replace(".", r"\.")):
        search_space(search, when)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"SEARCH": SEARCH, "AXES": {"d_model": [1]}}, "has both SEARCH and AXES"),
        ({"SEARCH": SEARCH, "NUISANCE": {"batch_size": [1]}}, "has both SEARCH and NUISANCE"),
        ({"AXES": {"d_model": [64]}, "WHEN": WHEN}, "has WHEN but no SEARCH"),
        ({"SEARCH": SEARCH, "SAMPLER": {"name": "tpee"}}, "did you mean tpe?"),
        ({"SEARCH": SEARCH, "SAMPLER": {"rounds": 0}}, "rounds of the sampler is 0; it must be"),
        ({"SEARCH": SEARCH, "SAMPLER": {"round": 2}}, "did you mean rounds?"),
    ],
)
def test_a_file_of_a_search_is_checked(names: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message.replace("?", r"\?")):
        space_from(names, name="mine", source="mine.py")
