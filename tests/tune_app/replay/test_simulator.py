"""A replay of a recorded sweep: the same decisions, without training and without Ray."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path

import pytest

from tests.loaded import loaded_by
from tests.tune_app.journals import make_journal
from tests.tune_app.sweep.test_extension import amend
from tests.tune_app.sweeps import TOKENS, new_journal, observe, planned
from tune_app.journal.journal import Journal
from tune_app.journal.records import Action
from tune_app.replay.simulator import differing_decisions, fresh_referee, replay, replay_journal
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.kill_rule import KillRule
from tune_app.stopping.recording_referee import RecordingReferee
from tune_app.sweep.extension import extension


@pytest.fixture
def recorded(tmp_path: Path) -> Journal:
    """Twelve cells in chance order, decided on as they came by the sweep's own rules."""
    journal = new_journal(
        tmp_path / "journal.sqlite3", expansions=(2.0, 2.66, 3.0, 3.5, 4.0, 5.0), seeds=(0, 1)
    )
    sweep = journal.sweep()
    referee = RecordingReferee(journal, StoppingRules.from_record(sweep).build(tokens=sweep.tokens))
    chance = random.Random(3)
    left = {
        cell.key: [
            observe(cell.key, step * 125, 2.5 - step / 10 + level, whole=2.0 if step == 8 else None)
            for step in range(1, 9)
        ]
        for cell in journal.cells()
        for level in [chance.gauss(0, 0.1)]
    }
    lost = list(left)[5]
    left[lost][3] = observe(lost, 500, math.nan)
    while left:
        cell = chance.choice(list(left))
        decision = referee.judge(left[cell].pop(0)).decision
        if not left[cell] or (decision is not None and decision.action.ends):
            del left[cell]
    return journal


def test_a_replay_makes_the_decisions_that_were_recorded(recorded: Journal) -> None:
    decisions = recorded.decisions()
    assert {decision.rule for decision in decisions} == {"asha-stop", "completed", "diverged"}
    assert sum(decision.action is Action.STOP for decision in decisions) >= 3
    assert replay_journal(recorded) == [dataclasses.replace(one, at=0.0) for one in decisions]
    assert differing_decisions(recorded) == []


def test_a_replay_judges_by_the_rules_and_the_cells_of_its_time(tmp_path: Path) -> None:
    """Half a sweep, then two more seeds and a harsher rule: `sigma` looks at the baseline on every
    seed, so that a replay with the later cells would decide otherwise from the start."""
    path = tmp_path / "journal.sqlite3"
    journal = new_journal(path, expansions=(2.0, 2.66, 3.0), seeds=(0, 1))
    sigma = KillRule(unit="sigma", margin=0.1, span=300, minimum_evaluations=2)
    first = StoppingRules(kill_rule=sigma, scheduler=None)
    second = StoppingRules(kill_rule=KillRule(unit="bpb", margin=0.0, span=100), scheduler=None)
    for seeds, rules in (((0, 1), first), ((0, 1, 2, 3), second)):
        plan = planned(expansions=(2.0, 2.66, 3.0), seeds=seeds)
        amend(journal, extension(journal.sweep(), journal.cells(), plan, rules, command=""))
        referee = RecordingReferee(journal, rules.build(tokens=TOKENS))
        left = [cell.key for cell in journal.cells() if not cell.status.ended]
        for step in range(1, 9):
            for key in list(left):
                level = 0.05 * journal.cell(key).position
                whole = 2.0 if step == 8 else None
                decision = referee.judge(
                    observe(key, 125 * step, 2.5 + level, whole=whole)
                ).decision
                if decision is not None and decision.action.ends:
                    left.remove(key)
    decisions = journal.decisions()
    stopped = {one.amendment for one in decisions if one.rule == "kill_rule"}
    assert stopped == {1, 2}, "each rule has stopped a cell"
    assert replay_journal(journal) == [dataclasses.replace(one, at=0.0) for one in decisions]
    assert differing_decisions(journal) == []


def test_other_rules_decide_otherwise_and_end_curves_early(recorded: Journal) -> None:
    harsh = StoppingRules(
        kill_rule=KillRule(unit="bpb", margin=0, span=1, minimum_evaluations=1), scheduler=None
    )
    decisions = replay_journal(recorded, harsh)
    assert "asha-stop" not in {decision.rule for decision in decisions}
    assert "kill_rule" in {decision.rule for decision in decisions}
    ended = [decision.cell for decision in decisions]
    assert len(ended) == len(set(ended)), "who was ended is observed no more"


def test_a_decision_that_does_not_follow_from_the_rules_is_named(tmp_path: Path) -> None:
    # Its decisions are made up, and its ASHA writes nothing of who went on.
    with make_journal(tmp_path / "journal.sqlite3") as journal:
        differing = differing_decisions(journal)
        stops = [one for one, _ in differing if one is not None and one.action is Action.STOP]
        assert len(stops) == 6
        assert any(recorded is None for recorded, _ in differing)


def test_arrivals_in_another_order_are_decided_on_in_that_order(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "journal.sqlite3")
    baseline, one, other = (cell.key for cell in journal.cells())
    better, worse = observe(one, TOKENS // 4, 1.0), observe(other, TOKENS // 4, 2.0)
    there = replay(fresh_referee(journal), [better, worse])
    back = replay(fresh_referee(journal), [worse, better])
    assert [decision.action for decision in there] == [Action.CONTINUE, Action.STOP]
    assert [decision.action for decision in back] == [Action.CONTINUE, Action.CONTINUE]
    assert baseline not in {decision.cell for decision in there}


def test_a_replay_loads_neither_ray_nor_torch() -> None:
    assert loaded_by("import tune_app.replay.simulator", "ray", "torch") == []
