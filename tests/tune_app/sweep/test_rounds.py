"""What a search is told: the results of earlier rounds, whatever the order in which they came."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.tune_app.searches import end, end_all, go_on, planned, search_journal
from tune_app.journal.journal import Journal
from tune_app.journal.records import Failure, FailureClass
from tune_app.plan.search.records import Result, Round
from tune_app.stopping.all_rules import StoppingRules
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.standing import Standing, standing_of

FAILED = Failure(cell="", kind=FailureClass.CODE, reason="a mistake", traceback="", ended=True)
FATES = {"1.2": "stopped", "1.3": "diverged"}


def whole(path: Path, *, turn: int, again: bool) -> list[Round]:
    """A search to its end. turn: -1 ends the last cell of a round first; again: the journal is
    opened anew before each round, as after a kill."""
    plan = planned(rounds=3)
    journal = search_journal(path, plan)
    while True:
        end_all(journal, fates=FATES, turn=turn)
        if again:
            journal.close()
            journal = Journal.open(path)
        if go_on(journal, plan) is None:
            break
    with journal:
        assert journal.rounds_left() == 0
        return journal.rounds()


def test_neither_the_order_of_ends_nor_a_kill_changes_a_proposal(tmp_path: Path) -> None:
    rounds = whole(tmp_path / "one.sqlite3", turn=1, again=False)
    assert [len(one.new) for one in rounds] == [4, 4, 4]
    assert whole(tmp_path / "other.sqlite3", turn=-1, again=True) == rounds
    told = {one.number: one for one in rounds[1].told}
    kinds = [one.result for one in told.values() if one.result is not Result.INFEASIBLE]
    assert kinds == [Result.FINISHED, Result.STOPPED, Result.DIVERGED, Result.FINISHED]
    (stopped,) = (one for one in told.values() if one.result is Result.STOPPED)
    assert (stopped.tokens, stopped.score) == (500, 2.0 + 0.1 * stopped.values["glu_expansion"])
    assert len(rounds[2].told) > len(rounds[1].told)


def test_a_design_counts_when_all_its_seeds_have_ended(tmp_path: Path) -> None:
    plan = planned(seeds=(0, 1))
    with search_journal(tmp_path / JOURNAL, plan) as journal:
        for cell in journal.cells():
            if cell.label.startswith("1.4") and cell.values["seed"] == 0:
                journal.fail(replace(FAILED, cell=cell.key))
                continue
            end(journal, cell, how="stopped" if cell.label == "1.2 relu × seed 1" else "finished")
        following = go_on(journal, plan)
        assert following is not None
        told = [one for one in following.round.told if one.result is not Result.INFEASIBLE]
        assert len(told) == 3, "what failed says nothing"
        (first,) = told[:1]
        assert first.score == 2.0 + 0.1 * first.values["glu_expansion"] + 0.005
        labels = [cell.label for cell in following.cells]
        places = ["2.1", "2.1", "2.2", "2.2", "2.3", "2.3", "2.4", "2.4"]
        assert [label.split()[0] for label in labels] == places
        assert labels[1].endswith(" × seed 1")


def found(folder: Path, **wishes: object) -> Standing:
    with Journal.open(folder / JOURNAL, read_only=True) as journal:
        rules = StoppingRules.from_record(journal.sweep())
    return standing_of(folder, planned(**wishes), rules, command="again")


def test_a_command_goes_on_with_the_rounds_that_were_proposed(tmp_path: Path) -> None:
    with search_journal(tmp_path / JOURNAL, planned()) as journal:
        record = journal.sweep()
        end_all(journal)
        first = journal.rounds()
    # Between two rounds: the next one is proposed before anything else happens.
    standing = found(tmp_path)
    assert standing.continues and standing.following is not None
    assert [cell.label.split()[0] for cell in standing.left] == ["2.1", "2.2", "2.3", "2.4"]
    with standing.open_journal(tmp_path, record) as journal:
        assert journal.amendments() == [], "a round is no change of the sweep"
        second = journal.rounds()
        end(journal, journal.cells()[5])
    assert second == [*first, standing.following.round]
    # In the middle of a round: it goes on.
    standing = found(tmp_path)
    assert standing.following is None
    assert [cell.label.split()[0] for cell in standing.left] == ["2.2", "2.3", "2.4"]
    # More rounds, another seed of the sampler, and more seeds: what was proposed stays.
    other = found(tmp_path, rounds=6, seeds=(0, 1), sampler_set=(("seed", 9),))
    assert other.extension is not None
    names = {one.name for one in other.extension.changes}
    assert names == {"search", "seeds"}
    added = [cell.label for cell in other.extension.added]
    assert len(added) == 9 and added[0] == "baseline × seed 1"
    with other.open_journal(tmp_path, record) as journal:
        assert journal.rounds() == second
        assert journal.rounds_left() == 4
        assert {cell.values["seed"] for cell in journal.cells()} == {0, 1}
        end_all(journal)
    third = found(tmp_path, rounds=6, seeds=(0, 1), sampler_set=(("seed", 9),)).following
    assert third is not None and len(third.cells) == 8
    # Fewer rounds than there are: those left over are not trained any further.
    fewer = found(tmp_path, rounds=1, seeds=(0, 1), sampler_set=(("seed", 9),))
    assert fewer.following is None and not fewer.left


def test_a_plan_that_trained_nothing_is_replaced_with_its_rounds(tmp_path: Path) -> None:
    with search_journal(tmp_path / JOURNAL, planned()) as journal:
        record = journal.sweep()
    other = found(tmp_path, sampler_set=(("seed", 1),))
    assert other.replaces
    plan = planned(sampler_set=(("seed", 1),))
    assert plan.search is not None
    with other.open_journal(tmp_path, replace(record, search=plan.search.as_dict())) as journal:
        assert journal.rounds() == list(plan.rounds)
        assert [cell.key for cell in journal.cells()] == [cell.key for cell in plan.cells]
