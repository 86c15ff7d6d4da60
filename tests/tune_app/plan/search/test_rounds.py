"""Proposals are a function of the space, the seed and earlier results; none costs training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.tune_app.searches import NAMES, planned, space
from tune_app.plan.plan import make_plan
from tune_app.plan.search.records import Result, Round, Told, rounds_left
from tune_app.plan.search.rounds import NextRound, Search, SearchExhaustedError, propose
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes


def scored(rounds: Sequence[Round], score: Callable[[Any], float]) -> list[Told]:
    """Every proposal, those that can be trained with a score."""
    told = []
    for one in (each for number in rounds for each in number.proposals):
        if one.is_infeasible:
            told.append(Told(number=one.number, values=one.values, result=Result.INFEASIBLE))
        elif one.is_new:
            told.append(
                Told(
                    number=one.number,
                    values=one.values,
                    result=Result.FINISHED,
                    score=score(one.values),
                )
            )
    return told


def after(search: Search, rounds: Sequence[Round], told: Sequence[Told]) -> NextRound:
    return propose(
        search,
        number=len(rounds) + 1,
        first=1 + sum(len(one.proposals) for one in rounds),
        told=told,
        known={one.cell: "known" for each in rounds for one in each.new if one.cell},
        position=1,
    )


def test_the_first_round_needs_no_results_and_is_always_the_same() -> None:
    plan = planned()
    first = plan.rounds[0]
    assert plan.rounds == planned().rounds
    assert first.number == 1 and len(first.new) == 4 and first.told == ()
    assert [cell.label[:3] for cell in plan.cells] == ["bas", "1.1", "1.2", "1.3", "1.4"]
    assert [cell.position for cell in plan.cells] == [0, 1, 2, 3, 4]
    assert all(cell.config is not None for cell in plan.cells)
    assert [one.cell for one in first.new] == [cell.key for cell in plan.cells[1:]]
    assert planned(sampler_set=(("seed", 1),)).rounds != plan.rounds
    # More of them a round begin with the same; the training seeds do not matter.
    more = planned(sampler_set=(("cells", 6),), seeds=(3, 5))
    values = [one.values for one in more.rounds[0].new]
    assert values[:4] == [one.values for one in first.new]
    assert [cell.label for cell in more.cells[:2]] == ["baseline × seed 3", "baseline × seed 5"]
    assert len(more.cells) == 2 * 7


def test_a_round_is_a_function_of_the_results_before_it() -> None:
    plan = planned()
    search = plan.search
    assert search is not None
    rounds = list(plan.rounds)
    for _ in range(3):
        told = scored(rounds, lambda values: values["glu_expansion"])
        following = after(search, rounds, told)
        assert following == after(search, rounds, told)
        rounds.append(following.round)
    best = [one.values["glu_expansion"] for one in rounds[3].new]
    assert sum(best) < sum(one.values["glu_expansion"] for one in rounds[0].new), "it learns"
    assert rounds_left(search.as_dict(), rounds) == 0
    other = after(search, rounds[:1], scored(rounds[:1], lambda values: -values["glu_expansion"]))
    assert other.round.proposals != rounds[1].proposals


def test_what_was_stopped_or_diverged_counts_below_what_finished() -> None:
    plan = planned(sampler_set=(("startup", 1), ("cells", 6)))
    search = plan.search
    assert search is not None
    told = scored(plan.rounds, lambda values: 2.0)
    results = (Result.STOPPED, Result.DIVERGED)
    others = [
        replace(one, result=results[at % 2], score=3.0, tokens=100 * at)
        for at, one in enumerate(told[1:], 1)
    ]
    same = after(search, plan.rounds, [told[0], *others])
    assert same == after(search, plan.rounds, [told[0], *others])
    assert same != after(search, plan.rounds, told)


def test_infeasible_points_are_kept_with_their_reason_and_avoided() -> None:
    mixtures = space(
        SEARCH={**NAMES["SEARCH"], "feed_forward": ["swiglu", "moe"]},
        WHEN={"feed_forward": {"moe": {"n_experts": [2, 3], "top_k": [1, 3, 4]}}},
    )
    plan = planned(mixtures, target_parameters=700_000, sampler_set=(("cells", 8),))
    refused = [one for one in plan.rounds[0].proposals if one.refused]
    assert refused and all(one.is_infeasible and one.cell is None for one in refused)
    reasons = {one.refused for one in refused if one.values["feed_forward"] == "moe"}
    assert " experts; take a top_k of at most " in str(reasons)
    (note,) = plan.notes
    assert f"{len(refused)} of {len(plan.rounds[0].proposals)} proposals of round 1" in note
    assert all(cell.config is not None for cell in plan.cells)


def test_a_space_without_models_is_refused_with_its_reasons() -> None:
    nothing = space(FIXED={**NAMES["FIXED"], "n_layers": 31}, BASELINE={"n_layers": None})
    with pytest.raises(SearchExhaustedError) as refused:
        planned(nothing, sampler_set=(("refusals", 9),))
    assert "none of 10 proposals can be trained: " in str(refused.value)
    assert " × " in str(refused.value)


def test_a_space_that_is_tried_out_ends_with_a_short_round() -> None:
    small = space(
        SEARCH={"feed_forward": ["swiglu", "relu", "gelu"]}, WHEN={}, BASELINE={}, SAMPLER={}
    )
    plan = planned(small, rounds=2, sampler_set=(("refusals", 30),))
    (only,) = plan.rounds
    assert plan.search is not None
    assert {one.values["feed_forward"] for one in only.new} == {"relu", "gelu"}
    assert {one.refused for one in only.proposals} >= {"the sweep has it as baseline"}
    assert rounds_left(plan.search.as_dict(), plan.rounds) == 0
    assert "it is the last one" in plan.notes[0]


def test_options_of_a_search_need_one() -> None:
    axes = Space(name="plain", axes={"glu_expansion": [2.0]})
    with pytest.raises(ValueError, match="rounds of the sampler is set, but the space 'plain'"):
        make_plan(axes, Wishes(rounds=2))
    with pytest.raises(ValueError, match="unknown sampler 'rndom'; did you mean random"):
        planned(sampler="rndom")
