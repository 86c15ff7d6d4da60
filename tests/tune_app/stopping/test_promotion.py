"""Cells that pause at rungs: the best go on, whatever the order in which cells start."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.tune_app.journals import make_journal
from tests.tune_app.sweeps import TOKENS, new_journal, observe
from tune_app.journal.journal import Journal
from tune_app.journal.records import Action, Failure, FailureClass, Observation, Status
from tune_app.replay.simulator import differing_decisions
from tune_app.stopping.all_rules import SCHEDULERS, StoppingRules
from tune_app.stopping.curves import Curves
from tune_app.stopping.kill_rule import KillRule
from tune_app.stopping.recording_referee import RecordingReferee
from tune_app.stopping.referee import Referee
from tune_app.stopping.rule_sets import continued

EXPANSIONS = (2.66, *(2.0 + at / 4 for at in range(11)))


def journal_of(path: Path, scheduler: str) -> Journal:
    """A sweep of twelve cells under a scheduler, without the kill rule."""
    journal = new_journal(path / "journal.sqlite3", expansions=EXPANSIONS)
    record = json.loads(journal._connection.execute("SELECT record FROM sweep").fetchone()[0])
    record |= {"scheduler": {"name": scheduler}, "kill_rule": {"unit": "off"}}
    journal._connection.execute("UPDATE sweep SET record = ?", [json.dumps(record)])
    return journal


def referee_of(journal: Journal) -> RecordingReferee:
    sweep = journal.sweep()
    rules = StoppingRules.from_record(sweep).build(tokens=sweep.tokens)
    return RecordingReferee(journal, rules)


def train(journal: Journal, chance: random.Random, *, slots: int, cut: int = -1) -> None:
    """Trains cells on paper, in an order and at speeds of chance; `cut` evaluations at most."""
    referee, cells = referee_of(journal), journal.cells()
    scores = {cell.key: 2.0 + 0.01 * (7 * cell.position % 12) for cell in cells}
    done = {cell.key: _trained(journal, cell.key) for cell in cells}
    waiting = [cell.key for cell in cells if not cell.status.ended]
    chance.shuffle(waiting)
    running: list[str] = []
    while (waiting or running) and cut:
        while waiting and len(running) < slots:
            running.append(waiting.pop(0))
            journal.start_attempt(running[-1])
        cell = chance.choice(running)
        done[cell] += 125
        whole = scores[cell] if done[cell] == TOKENS else None
        ruling = referee.judge(observe(cell, done[cell], scores[cell], whole=whole))
        waiting += [one.cell for one in ruling.promoted]
        if ruling.decision is not None and ruling.decision.action is not Action.CONTINUE:
            running.remove(cell)
        cut -= 1


def _trained(journal: Journal, cell: str) -> int:
    return max((one.tokens for one in journal.observations(cell)), default=0)


def reached(journal: Journal) -> list[int]:
    return [_trained(journal, cell.key) for cell in journal.cells()]


def test_who_passes_depends_on_the_scores_alone(tmp_path: Path) -> None:
    outcomes = []
    for seed, slots in ((0, 1), (1, 3)):
        with journal_of(tmp_path / str(seed), "asha") as journal:
            train(journal, random.Random(seed), slots=slots)
            outcomes.append(reached(journal))
            statuses = [cell.status for cell in journal.cells()]
            assert statuses.count(Status.FINISHED) == 3, "the baseline leads"
            assert statuses.count(Status.PAUSED) == 9
            assert "; the best " in journal.cells()[-1].reason
            assert differing_decisions(journal) == []
    assert outcomes[0] == outcomes[1]
    # All reach a quarter, the better six a half.
    assert sorted(outcomes[0]) == [250] * 6 + [500] * 3 + [1_000] * 3


@pytest.mark.parametrize("scheduler", ["asha", "halving"])
def test_no_order_of_arrival_lets_another_cell_pass(tmp_path: Path, scheduler: str) -> None:
    with journal_of(tmp_path, scheduler) as journal:
        sweep, cells = journal.sweep(), journal.cells()
        rules = StoppingRules.from_record(sweep)
    chance = random.Random(0)
    for _ in range(40):
        some = cells[: chance.randint(4, 12)]
        # At every evaluation another ranking, with a tie now and then.
        curves = {
            cell.key: [observe(cell.key, 250 * at, round(chance.random(), 1)) for at in (1, 2, 3)]
            for cell in some
        }
        ends = set()
        for slots in (1, 3, 12):
            referee = Referee(rules.build(tokens=TOKENS), Curves(some, baseline=sweep.baseline))
            ends.add(frozenset(_passing(referee, curves, chance, slots=slots)))
        assert len(ends) == 1


def _passing(
    referee: Referee,
    curves: Mapping[str, Sequence[Observation]],
    chance: random.Random,
    *,
    slots: int,
) -> list[tuple[str, int]]:
    """How many evaluations each cell reaches."""
    waiting, running, at = list(curves), list[str](), dict.fromkeys(curves, 0)
    chance.shuffle(waiting)
    while waiting or running:
        while waiting and len(running) < slots:
            running.append(waiting.pop(0))
        cell = chance.choice(running)
        decision = referee.feed(curves[cell][at[cell]])
        at[cell] += 1
        if at[cell] == 3 or (decision is not None and decision.action is Action.PAUSE):
            running.remove(cell)
        waiting += [one.cell for one in referee.promotions()]
    return list(at.items())


def test_a_sweep_cut_off_anywhere_decides_as_one_that_was_not(tmp_path: Path) -> None:
    with journal_of(tmp_path / "whole", "halving") as journal:
        train(journal, random.Random(7), slots=2)
        expected = reached(journal)
    chance = random.Random(8)
    with journal_of(tmp_path / "cut", "halving") as journal:
        while any(not cell.status.ended for cell in journal.cells()):
            train(journal, chance, slots=2, cut=chance.randint(3, 12))
            journal.mark_interrupted()
        assert reached(journal) == expected
        assert differing_decisions(journal) == []


def test_a_cell_goes_on_once_nothing_to_come_can_take_its_place(tmp_path: Path) -> None:
    with journal_of(tmp_path, "asha") as journal:
        keys = [cell.key for cell in journal.cells()]
        referee = referee_of(journal)
        # Every one is better than all before it.
        rulings = [
            referee.judge(observe(key, 250, 2.5 - 0.01 * place))
            for place, key in enumerate(reversed(keys[1:]))
        ]
        assert [len(ruling.promoted) for ruling in rulings] == [0] * 11
        actions = [ruling.decision and ruling.decision.action for ruling in rulings]
        assert actions == [Action.PAUSE] * 6 + [Action.CONTINUE] * 5
        # The baseline is worse than all: it goes on beside the six that pass.
        last = referee.judge(observe(keys[0], 250, 9.0))
        assert last.decision is not None and last.decision.action is Action.CONTINUE
        (sixth,) = last.promoted
        assert sixth.cell == keys[6] and sixth.action is Action.PROMOTE
        assert sixth.reason == "rung 250: bpb 2.4500 is place 6 of 12; the best 6 go on"
        assert journal.cell(keys[6]).status is Status.PENDING


def test_a_cell_that_fails_or_is_stopped_gives_its_place_to_the_next(tmp_path: Path) -> None:
    with journal_of(tmp_path, "halving") as journal:
        baseline, *others = [cell.key for cell in journal.cells()]
        referee = referee_of(journal)
        referee.judge(observe(baseline, 250, 9.0))
        for place, key in enumerate(others[:9]):
            referee.judge(observe(key, 250, 2.0 + 0.1 * place))
        assert not referee.judge(observe(others[9], 125, float("nan"))).promoted
        kind = FailureClass.CODE
        journal.fail(Failure(cell=others[10], kind=kind, reason="", traceback="", ended=True))
        assert [one.cell for one in referee.leave(others[10])] == others[:6]
        assert differing_decisions(journal) == []
        # Taken up again, and better than they, it goes on beside them.
        ruling = referee_of(journal).judge(observe(others[10], 250, 1.0))
        assert ruling.decision is not None and ruling.decision.action is Action.CONTINUE
        assert differing_decisions(journal) == []


def test_a_sweep_that_exists_keeps_its_scheduler_unless_one_is_named(tmp_path: Path) -> None:
    with make_journal(tmp_path / "journal.sqlite3") as journal:
        sweep = journal.sweep()
    asked = StoppingRules(kill_rule=KillRule(), scheduler=SCHEDULERS["asha"](), named=False)
    kept = continued(sweep, asked).scheduler
    assert kept is not None and kept.NAME == "asha-stop"
    named = StoppingRules(kill_rule=KillRule(), scheduler=SCHEDULERS["halving"]())
    assert continued(sweep, named) == named
