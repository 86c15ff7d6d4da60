"""The rules of a sweep: those of its space, replaced by wishes, or refused before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tune_app.plan.space import Space
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Wishes
from tune_app.stopping.asha import AshaSettings
from tune_app.stopping.kill_rule import KillRule
from tune_app.stopping.sweep_rules import kill_rule_settings, plan_with_rules, planned_rules


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
        ({}, 1, "the first rung of ASHA"),
        (
            {"scheduler": "pbt"},
            1_000,
            "unknown scheduler 'pbt'; expected one of asha, asha-stop, halving, race, none",
        ),
        (
            {"scheduler_set": (("eta", 3),)},
            1_000,
            "unknown setting 'eta' of ASHA; expected one of reduction_factor, grace_fraction",
        ),
        (
            {"scheduler_set": (("reduction_fctor", 3),)},
            1_000,
            r"'reduction_fctor' of ASHA; did you mean reduction_factor\? expected one of",
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "KILL_RULE = {\n'margins': 1}",
            "mine.py, line 3: unknown setting 'margins' of the kill rule; did you mean margin? "
            "expected one of unit, margin, span, minimum_evaluations, span_fraction",
        ),
        (
            "KILL_RULE = {\n'span_fraction': 'half'}",
            "mine.py, line 3: span_fraction of the kill rule is 'half'; it must be a number above",
        ),
        ("KILL_RULE = {\n'margin': -1}", "mine.py, line 3: margin of the kill rule is -1; it must"),
        (
            "SCHEDULER = {\n'reduction_factor': 1}",
            "mine.py, line 3: reduction_factor of ASHA is 1; it must be at least 2",
        ),
        (
            "FIXED = {\n'reduction_factor': 3}",
            "mine.py, line 3: reduction_factor is a setting of the scheduler; set it in SCHEDULER, "
            "not in FIXED",
        ),
        (
            "FIXED = {\n'span_fraction': 0.2}",
            "mine.py, line 3: span_fraction is a setting of the kill rule; set it in KILL_RULE",
        ),
        (
            "SCHEDULER = {\n'learning_rate': 0.2}",
            "mine.py, line 3: learning_rate is a setting of the cells; set it in FIXED, not in SCH",
        ),
    ],
)
def test_a_rule_of_a_space_that_is_wrong_is_told_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"AXES = {{'glu_expansion': [2.66]}}\n{text}")
    with pytest.raises(ValueError, match=r".") as raised:
        plan_with_rules(load_space(str(path)), Wishes())
    assert str(raised.value).removeprefix(f"{tmp_path}/").startswith(message)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (
            {"set": (("reduction_factor", 3),)},
            "reduction_factor is a setting of the scheduler; use --scheduler-set reduction_fac",
        ),
        ({"set": (("margin", 3),)}, "margin is a setting of the kill rule; use --kill-margin"),
        (
            {"scheduler_set": (("tokens", 5),)},
            "tokens is a setting of the cells; use --set tokens=5",
        ),
    ],
)
def test_an_option_for_another_s_setting_names_the_right_one(
    wishes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_with_rules(load_space("quick"), Wishes(**wishes))


def test_counts_of_rules_may_be_text() -> None:
    space = Space(name="x", axes={"n_heads": [4]}, kill_rule={"span": "20k"})
    assert planned_rules(space, Wishes(), tokens=100_000).kill_rule.span == 20_000


def test_an_option_is_not_the_file_s_fault(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("AXES = {'n_heads': [4]}\nKILL_RULE = {'margin': 1}")
    with pytest.raises(ValueError, match=r"^margin of the kill rule is -2"):
        planned_rules(load_space(str(path)), Wishes(kill_margin=-2), tokens=10_000)


def test_the_settings_of_the_kill_rule_are_explained() -> None:
    shown = {one.name: one for one in kill_rule_settings()}
    assert list(shown) == ["unit", "margin", "span", "minimum_evaluations", "span_fraction"]
    assert all(one.default and one.kind and one.meaning for one in shown.values())
    assert shown["unit"].kind == "ppl, bpb, sigma or off"
