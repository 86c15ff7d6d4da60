"""The rules of a sweep: those of its space, replaced by wishes, or refused before it starts."""

from __future__ import annotations

from typing import Any

import pytest

from tune_app.plan.space import Space
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Wishes
from tune_app.stopping.asha import AshaSettings
from tune_app.stopping.kill_rule import KillRule
from tune_app.stopping.sweep_rules import planned_rules


def test_the_rules_of_the_quick_space() -> None:
    rules = planned_rules(load_space("quick"), Wishes(), tokens=150_000)
    assert rules.scheduler == AshaSettings(reduction_factor=2, grace_fraction=0.25)
    assert rules.kill_rule == KillRule(unit="ppl", margin=0.5, span=30_000)
    assert rules.milestones(150_000) == (37_500, 75_000)
    assert list(rules.build(tokens=150_000)) == ["kill_rule", "asha"], "in the order of hearing"


def test_wishes_replace_what_the_space_says() -> None:
    rules = planned_rules(
        load_space("quick"),
        Wishes(scheduler="none", kill_rule="bpb", kill_margin=0.01, kill_span=50_000),
        tokens=1_000_000,
    )
    assert rules.scheduler is None
    assert rules.kill_rule == KillRule(unit="bpb", margin=0.01, span=50_000)
    eta = Wishes(scheduler_set=(("reduction_factor", 3),))
    assert planned_rules(load_space("quick"), eta, tokens=1_000).scheduler == AshaSettings(
        reduction_factor=3, grace_fraction=0.25
    )


def test_the_span_is_a_million_tokens_where_nobody_says_otherwise() -> None:
    assert planned_rules(load_space("glu"), Wishes(), tokens=10**7).kill_rule.span == 1_000_000


@pytest.mark.parametrize(
    ("wishes", "tokens", "message"),
    [
        ({"kill_rule": "bpb"}, 1_000, "margin of 0.5 is in ppl, not in bpb"),
        (
            {"kill_rule": "sigma", "kill_margin": 3},
            1_000,
            "sigma needs the baseline on at least two seeds, not 1",
        ),
        ({}, 1, "ASHA's first rung"),
        ({"scheduler": "pbt"}, 1_000, "unknown scheduler 'pbt'; expected one of asha, none"),
        (
            {"scheduler_set": (("eta", 3),)},
            1_000,
            "unknown setting 'eta' of ASHA; expected one of reduction_factor, grace_fraction",
        ),
        (
            {"scheduler_set": (("grace_fraction", "half"),)},
            1_000,
            "grace_fraction of ASHA is 'half'; it must be a number",
        ),
        ({"scheduler_set": (("reduction_factor", None),)}, 1_000, "it must be a number"),
        (
            {"scheduler": "none", "scheduler_set": (("eta", 3),)},
            1_000,
            "--scheduler-set eta: the scheduler none has no settings",
        ),
        ({"scheduler_set": (("name", "none"),)}, 1_000, "is chosen with --scheduler"),
    ],
)
def test_impossible_rules_are_refused(wishes: dict[str, Any], tokens: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planned_rules(Space(name="x", axes={"n_heads": [4]}), Wishes(**wishes), tokens=tokens)


@pytest.mark.parametrize("setting", ["scheduler", "kill_rule"])
def test_a_space_that_misspells_a_rule_is_refused(setting: str) -> None:
    space = Space(name="x", axes={"n_heads": [4]}, **{setting: {"margn": 1}})
    with pytest.raises(ValueError, match="unknown setting 'margn'"):
        planned_rules(space, Wishes(), tokens=1_000)


def test_a_space_may_choose_its_scheduler() -> None:
    space = Space(name="x", axes={"n_heads": [4]}, scheduler={"name": "none"})
    assert planned_rules(space, Wishes(), tokens=1_000).scheduler is None
    asked = planned_rules(space, Wishes(scheduler="asha"), tokens=1_000)
    assert asked.scheduler == AshaSettings()
