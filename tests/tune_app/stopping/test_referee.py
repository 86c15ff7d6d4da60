"""The referee: rules combined, decisions written once and replayed ever after."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.tune_app.sweeps import TOKENS, new_journal, observe
from tune_app.journal.journal import Journal
from tune_app.journal.records import COMPLETED, DIVERGED, Action, Observation, Status
from tune_app.stopping.curves import Curves
from tune_app.stopping.kill_rule import KillRule
from tune_app.stopping.recording_referee import RecordingReferee, Ruling
from tune_app.stopping.referee import Referee
from tune_app.stopping.rule import Rule, Verdict

KILL = KillRule(unit="ppl", margin=0.5, span=300, minimum_evaluations=4)


class OneRung:
    """A rung at 250 tokens that holds an arrival against the best so far."""

    def __init__(self, worse: Action = Action.STOP) -> None:
        self.arrived: list[tuple[str, float]] = []
        self._worse = worse

    def judge(self, curves: Curves, observation: Observation) -> Verdict | None:
        cell, value = observation.cell, observation.bits_per_byte
        if observation.tokens < 250 or cell in dict(self.arrived):
            return None
        best = min((earlier for _, earlier in self.arrived), default=value)
        self.arrived.append((cell, value))
        return Verdict(
            action=self._worse if value > best else Action.CONTINUE,
            reason=f"{value} against {best}",
            evidence={"best": best},
        )


def referee_of(journal: Journal, **rules: Rule) -> RecordingReferee:
    return RecordingReferee(journal, rules)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return new_journal(tmp_path / "journal.sqlite3")


def feed(referee: RecordingReferee, cell: str, *points: tuple[int, float]) -> list[Action | None]:
    decisions = [referee.judge(observe(cell, tokens, bpb)).decision for tokens, bpb in points]
    return [None if decision is None else decision.action for decision in decisions]


def test_a_cell_that_stays_worse_than_the_baseline_is_stopped(journal: Journal) -> None:
    baseline, bad, near = (cell.key for cell in journal.cells())
    referee = referee_of(journal, kill_rule=KILL)
    feed(referee, baseline, *((tokens, 2.0) for tokens in range(100, 900, 100)))
    assert feed(referee, bad, *((tokens, 2.06) for tokens in (100, 200, 300, 400))) == [
        None,
        None,
        None,
        Action.STOP,
    ]
    assert feed(referee, near, *((t, 2.04) for t in range(100, 900, 100))) == [None] * 8
    (decision,) = journal.decisions()
    assert decision.rule == "kill_rule"
    assert decision.evidence["span"] == 300
    assert journal.cell(bad).status is Status.STOPPED


def test_a_challenger_ahead_of_the_baseline_waits_for_it(journal: Journal) -> None:
    baseline, bad, _ = (cell.key for cell in journal.cells())
    referee = referee_of(journal, kill_rule=KILL)
    assert feed(referee, bad, *((t, 3.0) for t in range(100, 600, 100))) == [None] * 5
    feed(referee, baseline, *((t, 2.0) for t in range(100, 400, 100)))
    assert feed(referee, bad, (600, 3.0)) == [None], "the baseline is known over 200 tokens only"
    feed(referee, baseline, (400, 2.0))
    assert feed(referee, bad, (700, 3.0)) == [Action.STOP]


def test_each_seed_is_held_against_the_baseline_of_its_own(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "seeds.sqlite3", expansions=(2.66, 4.0), seeds=(0, 1))
    first, second, bad_first, bad_second = (cell.key for cell in journal.cells())
    referee = referee_of(journal, kill_rule=KILL)
    assert referee.curves.is_baseline(second)
    feed(referee, first, *((t, 2.0) for t in range(100, 500, 100)))
    feed(referee, second, *((t, 3.0) for t in range(100, 500, 100)))
    assert feed(referee, bad_first, *((t, 3.0) for t in range(100, 500, 100)))[-1] is Action.STOP
    assert feed(referee, bad_second, *((t, 3.0) for t in range(100, 500, 100)))[-1] is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_stops_at_once_and_fills_no_rung(journal: Journal, value: float) -> None:
    _, bad, _ = (cell.key for cell in journal.cells())
    rung = OneRung()
    referee = referee_of(journal, rung=rung)
    assert feed(referee, bad, (300, value)) == [Action.STOP]
    assert journal.decisions()[0].rule == DIVERGED
    assert rung.arrived == []


def test_the_baseline_is_immune_to_rungs_and_noted_in_them(journal: Journal) -> None:
    baseline, good, _ = (cell.key for cell in journal.cells())
    rung = OneRung()
    referee = referee_of(journal, kill_rule=KILL, rung=rung)
    feed(referee, good, (300, 1.0))
    assert feed(referee, baseline, (300, 2.0)) == [Action.CONTINUE]
    assert rung.arrived == [(good, 1.0), (baseline, 2.0)]
    decision = journal.decisions()[-1]
    assert decision.evidence["immune"]
    assert "the baseline goes on all the same" in decision.reason


def test_the_end_of_training_finishes_a_cell_whatever_its_rank(journal: Journal) -> None:
    _, cell, _ = (cell.key for cell in journal.cells())
    referee = referee_of(journal, kill_rule=KILL, rung=OneRung())
    ruling = referee.judge(observe(cell, TOKENS, 9.0, whole=9.1))
    decision = ruling.decision
    assert ruling.new
    assert decision is not None
    assert (decision.action, decision.rule) == (Action.FINISH, COMPLETED)
    assert journal.cell(cell).status is Status.FINISHED


def test_a_replay_meets_its_first_decision_and_changes_nothing(journal: Journal) -> None:
    baseline, bad, _ = (cell.key for cell in journal.cells())
    rung = OneRung()
    referee = referee_of(journal, rung=rung)
    feed(referee, baseline, (300, 1.0))
    feed(referee, bad, (200, 2.0), (300, 2.0))
    before = (list(rung.arrived), journal.decisions(), journal.observations())
    assert referee.judge(observe(bad, 200, 2.0)) == Ruling(decision=None, new=False)
    ruling = referee.judge(observe(bad, 300, 0.5))
    decision = ruling.decision
    assert not ruling.new
    assert decision is not None
    assert decision.action is Action.STOP, "a better result on the second try revives nobody"
    assert (rung.arrived, journal.decisions(), journal.observations()) == before


def test_a_new_referee_has_the_memory_of_the_old_one(journal: Journal) -> None:
    baseline, one, other = (cell.key for cell in journal.cells())
    first = OneRung()
    referee = referee_of(journal, kill_rule=KILL, rung=first)
    feed(referee, one, (100, 1.8), (300, 1.5))
    feed(referee, baseline, (100, 1.9), (300, 1.6))
    second = OneRung()
    again = referee_of(journal, kill_rule=KILL, rung=second)
    assert second.arrived == first.arrived
    assert again.curves.by_cell() == referee.curves.by_cell()
    assert feed(again, other, (300, 1.55)) == feed(referee, other, (300, 1.55)) == [Action.STOP]


def test_a_rule_that_stops_goes_before_one_that_pauses_and_all_are_asked(journal: Journal) -> None:
    baseline, good, bad = (cell.key for cell in journal.cells())
    first, second = OneRung(Action.PAUSE), OneRung(Action.STOP)
    referee = Referee(
        {"first": first, "second": second}, Curves(journal.cells(), baseline=baseline)
    )
    noted = referee.feed(observe(good, 300, 1.0))
    assert noted is not None
    assert (noted.action, noted.rule) == (Action.CONTINUE, "first"), "the first with a remark"
    stopped = referee.feed(observe(bad, 300, 2.0))
    assert stopped is not None
    assert (stopped.action, stopped.rule, stopped.reason) == (
        Action.STOP,
        "second",
        "2.0 against 1.0",
    )
    assert first.arrived == second.arrived == [(good, 1.0), (bad, 2.0)]


def test_a_paused_cell_waits_for_its_turn_again(journal: Journal) -> None:
    _, good, bad = (cell.key for cell in journal.cells())
    referee = referee_of(journal, rung=OneRung(Action.PAUSE))
    feed(referee, good, (300, 1.0))
    journal.start_attempt(bad)
    assert feed(referee, bad, (300, 2.0)) == [Action.PAUSE]
    cell = journal.cell(bad)
    assert (cell.status, cell.reason) == (Status.PAUSED, "2.0 against 1.0")
    journal.start_attempt(bad)
    assert journal.cell(bad).status is Status.RUNNING
    assert feed(referee, bad, (400, 2.0)) == [None]
