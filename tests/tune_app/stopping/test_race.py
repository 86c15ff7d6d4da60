"""The race as a scheduler: blocks of seeds, who goes on, and why, whatever comes between."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.sweeps import TOKENS, new_journal, observe
from tune_app.journal.journal import Journal
from tune_app.journal.records import Action, Failure, FailureClass, Observation, Status
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.replay.simulator import differing_decisions
from tune_app.results.summary import summarise
from tune_app.results.verdict import verdict
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.race import PairedRace, PairedRaceSettings
from tune_app.stopping.racing import End
from tune_app.stopping.recording_referee import RecordingReferee
from tune_app.stopping.sweep_rules import plan_with_rules, planned_rules

EXPANSIONS = (2.66, 2.0, 3.0, 4.0, 5.0)
SEEDS = (0, 1, 2, 3)
STEP = 500
KNOWN: Mapping[str, Any] = {"sigma": 0.002, "degrees_of_freedom": 30, "rungs": 0}


def journal_of(path: Path, **settings: Any) -> Journal:
    """A race of five designs on four seeds, without the kill rule."""
    journal = new_journal(path / "journal.sqlite3", expansions=EXPANSIONS, seeds=SEEDS)
    set_scheduler(journal, {"name": "race", **PairedRaceSettings(**settings).as_dict()})
    return journal


def set_scheduler(journal: Journal, scheduler: Mapping[str, Any]) -> None:
    record = json.loads(journal._connection.execute("SELECT record FROM sweep").fetchone()[0])
    record |= {"scheduler": scheduler, "kill_rule": {"unit": "off"}}
    journal._connection.execute("UPDATE sweep SET record = ?", [json.dumps(record)])


def referee_of(journal: Journal) -> RecordingReferee:
    sweep = journal.sweep()
    rules = StoppingRules.from_record(sweep).build(tokens=sweep.tokens)
    return RecordingReferee(journal, rules)


def race_of(journal: Journal) -> tuple[PairedRace, RecordingReferee]:
    sweep = journal.sweep()
    rules = StoppingRules.from_record(sweep).build(tokens=sweep.tokens)
    (race,) = rules.values()
    assert isinstance(race, PairedRace)
    return race, RecordingReferee(journal, rules)


def train(
    journal: Journal,
    gaps: Mapping[float, float],
    chance: random.Random,
    *,
    slots: int = 2,
    cut: int = -1,
    fail: str = "",
    step: int = STEP,
) -> None:
    """Trains cells on paper, in an order of chance; `cut` evaluations at most.

    gaps: expansion → how much worse it truly is; scores of one seed share their noise.
    """
    referee = referee_of(journal)
    referee.begin()
    cells = {cell.key: cell for cell in journal.cells()}
    done = {key: max([0, *(one.tokens for one in journal.observations(key))]) for key in cells}
    waiting = [key for key, cell in cells.items() if not cell.status.ended]
    chance.shuffle(waiting)
    running: list[str] = []
    while (waiting or running) and cut:
        while waiting and len(running) < slots:
            running.append(waiting.pop(0))
            journal.start_attempt(running[-1])
        key = chance.choice(running)
        if cells[key].label == fail:
            journal.fail(_failure(key))
            running.remove(key)
            waiting += [one.cell for one in referee.leave(key) if one.action is Action.PROMOTE]
            continue
        done[key] += step
        ruling = referee.judge(_point(cells[key].values, key, done[key], gaps))
        waiting += [one.cell for one in ruling.promoted if one.action is Action.PROMOTE]
        if ruling.decision is not None and ruling.decision.action is not Action.CONTINUE:
            running.remove(key)
        cut -= 1
    journal.mark_interrupted()


def _failure(key: str) -> Failure:
    return Failure(cell=key, kind=FailureClass.CODE, reason="it broke", traceback="", ended=True)


def _point(
    values: Mapping[str, Any], key: str, tokens: int, gaps: Mapping[float, float]
) -> Observation:
    seed, expansion = int(values["seed"]), float(values["glu_expansion"])
    noise = random.Random(f"{seed} {expansion}").gauss(0, 0.001) + 0.01 * seed
    score = 2.0 + gaps.get(expansion, 0.0) + noise + (TOKENS - tokens) / TOKENS
    return observe(key, tokens, score, whole=score if tokens == TOKENS else None)


def statuses(journal: Journal) -> dict[str, str]:
    return {cell.label: cell.status.value for cell in journal.cells()}


WORSE = {2.0: 0.05, 3.0: 0.05, 5.0: 0.05, 2.66: 0.02}
"""4 is best; the others are worse by many times the noise."""


def test_a_race_trains_seed_by_seed_until_one_design_is_left(tmp_path: Path) -> None:
    with journal_of(tmp_path, **KNOWN) as journal:
        train(journal, WORSE, random.Random(0))
        found = statuses(journal)
        race, referee = race_of(journal)
        now = race.standing(referee.curves)
        assert now.state.end is End.ONE_LEFT and now.reason.startswith("4 is left after ")
        assert all(found[f"{one:g} × seed 0"] == "finished" for one in EXPANSIONS)
        last = {cell.label: cell for cell in journal.cells()}["2 × seed 3"]
        assert last.status is Status.PAUSED and not last.attempts
        assert last.reason.startswith("it left the race: +0.0")
        assert "e-value" in last.reason
        assert now.state.seeds < len(SEEDS)
        results = summarise(journal)
        assert results.leader is not None and results.leader.label == "4"
        assert verdict(results).startswith(f"the race: {now.reason}; 4 designs left it before (α")
        assert results.saved_share is not None and results.saved_share > 0.2
        assert differing_decisions(journal) == []
        (own,) = [one for one in journal.cells() if one.label == "4 × seed 3"]
        assert own.reason.startswith("the race has ended: 4 is left after")


def test_equal_designs_end_as_cannot_tell_whichever_comes_first(tmp_path: Path) -> None:
    with journal_of(tmp_path, **KNOWN, smallest_difference=0.02) as journal:
        train(journal, {}, random.Random(1))
        race, referee = race_of(journal)
        now = race.standing(referee.curves)
        assert now.state.end is End.SAME and now.state.widest <= 0.02
        assert now.reason.startswith("these data cannot tell ")
        assert verdict(summarise(journal)).startswith("the race: these data cannot tell ")
    (tmp_path / "spent").mkdir()
    with journal_of(tmp_path / "spent", rungs=0, smallest_difference=1e-6) as journal:
        train(journal, {}, random.Random(1))
        race, referee = race_of(journal)
        assert race.standing(referee.curves).state.end is End.BUDGET
        assert set(statuses(journal).values()) == {"finished"}


def test_neither_order_nor_interruptions_decide_who_leaves(tmp_path: Path) -> None:
    gaps = {2.0: 0.05, 3.0: 0.004, 5.0: 0.01}
    found = []
    for number, cut in enumerate((-1, 17)):
        folder = tmp_path / str(number)
        folder.mkdir()
        chance = random.Random(number)
        with journal_of(folder, **KNOWN) as journal:
            while any(not cell.status.ended for cell in journal.cells()):
                train(journal, gaps, chance, slots=1 + 2 * number, cut=cut)
            assert differing_decisions(journal) == []
            race, referee = race_of(journal)
            found.append((statuses(journal), race.standing(referee.curves).state))
    assert found[0] == found[1]


def test_a_failed_cell_takes_its_design_out_and_nobody_waits_for_it(tmp_path: Path) -> None:
    with journal_of(tmp_path, **KNOWN) as journal:
        train(journal, {2.0: 0.05, 3.0: 0.05}, random.Random(2), fail="5 × seed 0")
        found = {cell.label: cell for cell in journal.cells()}
        assert found["5 × seed 0"].status is Status.FAILED
        assert found["5 × seed 1"].reason == "it left the race when its cell was stopped or paused"
        race, referee = race_of(journal)
        assert race.standing(referee.curves).state.end is not None
        assert differing_decisions(journal) == []


def test_a_cell_pauses_at_a_rung_only_by_measured_drift(tmp_path: Path) -> None:
    with journal_of(tmp_path, sigma=0.002, degrees_of_freedom=30) as journal:
        # One at a time: the fifth design meets a leader and three finished pairs.
        train(
            journal,
            {2.0: 0.9, 3.0: 0.05, 5.0: 0.05, 2.66: 0.02},
            random.Random(5),
            slots=1,
            step=250,
        )
        paused = [one for one in journal.decisions() if one.action is Action.PAUSE and one.tokens]
        assert all("against the leader is beyond" in one.reason for one in paused)
        assert all(one.evidence["pairs"] >= 3 for one in paused)
        noted = [one for one in journal.decisions() if "drift is not known" in one.reason]
        assert noted and all(one.action is Action.CONTINUE for one in noted)
        assert differing_decisions(journal) == []


def test_a_budget_ends_a_race_before_a_block_that_it_cannot_pay(tmp_path: Path) -> None:
    with journal_of(tmp_path, **KNOWN, budget=9 * TOKENS, smallest_difference=1e-6) as journal:
        train(journal, {}, random.Random(3))
        assert list(statuses(journal).values()).count("finished") == 5
        race, referee = race_of(journal)
        now = race.standing(referee.curves)
        assert (now.state.end, now.state.seeds, now.wanted) == (End.BUDGET, 1, ())


def test_more_seeds_go_on_with_those_that_are_left(tmp_path: Path) -> None:
    with journal_of(tmp_path, **KNOWN, smallest_difference=1e-6) as journal:
        held = [cell.key for cell in journal.cells() if cell.values["seed"] == 3]
        journal._connection.executemany(
            "UPDATE cells SET status = 'left out' WHERE key = ?", [(key,) for key in held]
        )
        train(journal, {2.0: 0.05}, random.Random(4))
        journal._connection.executemany(
            "UPDATE cells SET status = 'pending' WHERE key = ?", [(key,) for key in held]
        )
        train(journal, {2.0: 0.05}, random.Random(4))
        found = statuses(journal)
        assert found["2 × seed 3"] == "paused" and found["4 × seed 3"] == "finished"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"first_rung": 1.0}, "first_rung of the race is 1.0; it must be between 0 and 1"),
        ({"rungs": -1}, "rungs of the race is -1; it must be a count from 0 on"),
        ({"budget": 0.5}, "budget of the race is 0.5"),
        ({"sigma": 0.01}, "sigma of the race is 0.01 and degrees_of_freedom 0; give both"),
        ({"sigma": float("nan")}, "sigma of the race is nan; it must be 0 or more"),
        ({"smallest_difference": 0}, "it must be a number above 0"),
        ({"alpha": 2}, "it must be between 0 and 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairedRaceSettings.from_record(settings)


SPACE = Space(name="small", axes={"glu_expansion": [2.0, 4.0]}, fixed={})
NOISY = Space(
    name="small",
    axes={"glu_expansion": [2.0, 4.0]},
    fixed={
        "corpus": "stdlib",
        "target_parameters": 950_000,
        "vocab_size": 4_096,
        "tokens": 150_000,
    },
)


def test_options_of_a_race() -> None:
    with pytest.raises(ValueError, match="a race compares designs on several seeds"):
        planned_rules(SPACE, Wishes(scheduler="race"), tokens=1_000)
    with pytest.raises(ValueError, match="--smallest-difference is a setting of --scheduler race"):
        planned_rules(SPACE, Wishes(smallest_difference=0.01, seeds=(0, 1)), tokens=1_000)
    wishes = Wishes(scheduler="race", smallest_difference=0.01, seeds=(0, 1))
    rules = planned_rules(SPACE, wishes, tokens=1_000)
    assert isinstance(rules.scheduler, PairedRaceSettings)
    assert rules.scheduler.smallest_difference == 0.01
    assert rules.milestones(1_000) == (500, 750)
    assert "the seeds' noise is measured on the way" in rules.scheduler.describe(1_000)
    known = replace(rules.scheduler, sigma=0.01, degrees_of_freedom=4)
    assert "σ = 0.01 bpb is known from 4 degrees" in known.describe(1_000)


def test_a_race_begins_with_the_recorded_noise_of_such_sweeps() -> None:
    _, rules = plan_with_rules(NOISY, Wishes(scheduler="race", seeds=(0, 1)))
    assert isinstance(rules.scheduler, PairedRaceSettings)
    assert (rules.scheduler.sigma > 0) == (rules.scheduler.degrees_of_freedom > 0)
