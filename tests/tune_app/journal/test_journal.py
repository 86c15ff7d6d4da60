"""The journal: what it acknowledged is there, however the writer died."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.observations import changed
from tests.tune_app.old_journals import (
    remove_what_version_4_added,
    remove_what_version_6_added,
    remove_what_version_7_added,
    remove_what_version_8_added,
    remove_what_version_9_added,
    remove_what_version_10_added,
    remove_what_version_11_added,
)
from tests.tune_app.sweeps import new_journal, observe
from tune_app.journal.endings import Ending, EndKind
from tune_app.journal.journal import SCHEMA_VERSION, Journal, JournalError
from tune_app.journal.reached import Reached, reached
from tune_app.journal.records import (
    DIVERGED,
    Action,
    CellEvaluation,
    Decision,
    Failure,
    FailureClass,
    Place,
    Score,
    Status,
)
from tune_app.plan.search.records import Proposal, Result, Round, Told
from tune_app.stopping.curves import by_cell


def stop(cell: str, tokens: int) -> Decision:
    return Decision(
        cell=cell,
        tokens=tokens,
        action=Action.STOP,
        rule="asha-stop",
        reason="worse than the cutoff",
        evidence={"cutoff": 2.5, "none": None},
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        first, second, _ = journal.cells()
        journal.start_attempt(first.key)
        one, two = observe(first.key, 100, 2.0), observe(second.key, 100, 3.0)
        journal.record(one, None)
        journal.record(two, stop(second.key, 100))
        sweep = journal.sweep()
    with Journal.open(tmp_path / "journal.sqlite3", read_only=True) as journal:
        assert journal.sweep() == sweep
        assert journal.observations() == [one, two]
        assert journal.observations(second.key) == [two]
        (decision,) = journal.decisions()
        assert replace(decision, at=0.0) == stop(second.key, 100)
        assert [cell.status for cell in journal.cells()] == [
            Status.INTERRUPTED,
            Status.STOPPED,
            Status.PENDING,
        ]
        assert journal.cell(second.key).reason == "worse than the cutoff"
        assert journal.cell(first.key).attempts == 1


def test_what_a_killed_process_left_running_is_interrupted(tmp_path: Path) -> None:
    """While the writer lives its cells run, for every reader; then they do not."""
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as journal:
        key = journal.cells()[0].key
        journal.start_attempt(key)
        with Journal.open(path, read_only=True) as reader:
            assert reader.is_driven
            assert reader.cell(key).status is Status.RUNNING
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT key FROM cells WHERE status = 'running'"
        assert connection.execute(query).fetchall() == [(key,)], "as the writer left it"
    before = path.read_bytes()
    with Journal.open(path, read_only=True) as reader:
        assert not reader.is_driven
        assert reader.cell(key).status is reader.cells()[0].status is Status.INTERRUPTED
    assert path.read_bytes() == before
    with Journal.open(path) as journal:
        assert journal.cell(key).status is Status.INTERRUPTED
        journal.start_attempt(key)
        assert journal.cell(key).status is Status.RUNNING
        journal.mark_interrupted()
        assert journal.cell(key).status is Status.INTERRUPTED


def test_a_cell_has_one_score_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as journal:
        first, second, _ = (cell.key for cell in journal.cells())
        score = Score(
            cell=first, split="test", tokens=9, bits_per_byte=2.0, perplexity=8.0, text_bytes=5
        )
        journal.score(score)
        journal.score(replace(score, bits_per_byte=1.0))
        journal.score(replace(score, cell=second, bits_per_byte=math.nan, perplexity=math.nan))
    with Journal.open(path, read_only=True) as journal:
        one, other = journal.scores()
        assert replace(one, at=0.0) == score
        assert (other.cell, other.bits_per_byte, other.perplexity) == (second, math.inf, math.inf)


def test_a_cell_has_its_newest_checkpoint(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        first, second, _ = (cell.key for cell in journal.cells())
        for cell, url in ((first, "a"), (second, "s3://bucket/b"), (first, "c"), (second, None)):
            journal.keep(cell, url)
        assert journal.checkpoints() == {first: "c"}


def test_a_cell_has_come_as_far_as_anything_recorded_says(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        first, second, third = (cell.key for cell in journal.cells())
        for cell in (first, second):
            journal.start_attempt(cell)
        journal.beat(first, 100, "here")
        journal.record(observe(first, 300, 2.0), None)
        journal.keep(first, f"checkpoints/{first}/200-0c5e.pt")
        journal.beat(second, 100, "here")
        journal.keep(second, f"s3://bucket/{second}/400-0c5e.pt")
        assert reached(journal) == {
            first: Reached(tokens=300, saved=200),
            second: Reached(tokens=400, saved=400),
        }
        journal.keep(third, "named/otherwise.pt")
        assert reached(journal)[third] == Reached(tokens=0, saved=None)


def test_a_journal_of_version_3_has_no_scores_and_checkpoints_yet(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        record = json.loads(connection.execute("SELECT record FROM sweep").fetchone()[0])
        del record["test_bytes"]
        connection.execute("UPDATE sweep SET record = ?", [json.dumps(record)])
        remove_what_version_4_added(connection)
        connection.execute("PRAGMA user_version = 3")
    with Journal.open(path) as journal:
        assert journal.sweep().test_bytes is None
        assert (journal.scores(), journal.checkpoints()) == ([], {})
        (cell, *_) = journal.cells()
        journal.score(
            Score(
                cell=cell.key, split="test", tokens=9, bits_per_byte=2, perplexity=8, text_bytes=5
            )
        )
        assert len(journal.scores()) == 1


def test_a_journal_of_version_4_has_no_nuisance_axes(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        record = json.loads(connection.execute("SELECT record FROM sweep").fetchone()[0])
        del record["nuisance"]
        connection.execute("UPDATE sweep SET record = ?", [json.dumps(record)])
        remove_what_version_6_added(connection)
        connection.execute("PRAGMA user_version = 4")
    with Journal.open(path, read_only=True) as journal:
        assert journal.sweep().nuisance == ()
    Journal.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        record = json.loads(connection.execute("SELECT record FROM sweep").fetchone()[0])
        assert record["nuisance"] == []
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_journal_of_version_5_gets_a_table_of_evaluations(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        remove_what_version_6_added(connection)
        connection.execute("PRAGMA user_version = 5")
    with Journal.open(path, read_only=True) as journal:
        assert journal.evaluations() == []
    with Journal.open(path) as journal:
        (cell, other, *_) = (one.key for one in journal.cells())
        first = CellEvaluation(
            cell=cell, suite="language_modelling", split="test", metrics={"tokens": 2, "nats": 0.5}
        )
        assert journal.evaluate(first)
        # A split is scored once.
        assert not journal.evaluate(replace(first, metrics={"nats": 0.1}))
        assert journal.evaluate(replace(first, split="dev", notes={"rule": "a"}))
        assert journal.evaluate(replace(first, cell=other))
        kept = [replace(one, at=0.0) for one in journal.evaluations(cell)]
        assert kept == [first, replace(first, split="dev", notes={"rule": "a"})]
        assert len(journal.evaluations()) == 3


def test_observations_keep_the_order_of_arrival(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        first, second, _ = (cell.key for cell in journal.cells())
        for cell, tokens in [(second, 200), (first, 100), (second, 100)]:
            journal.record(observe(cell, tokens, 2.0), None)
        arrived = [(point.cell, point.tokens) for point in journal.observations()]
        assert arrived == [(second, 200), (first, 100), (second, 100)]
        assert [point.tokens for point in by_cell(journal.observations())[second]] == [100, 200]


def test_the_first_report_stands_and_another_result_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        cell = journal.cells()[1].key
        assert journal.replay(observe(cell, 100, 2.0)) == (False, None)
        journal.record(observe(cell, 100, 2.0), stop(cell, 100))
        with caplog.at_level(logging.WARNING):
            slower = replace(observe(cell, 100, 2.0), seconds={"train": 9.0})
            slower = changed(slower, tokens_per_second=1.0)
            known, decision = journal.replay(slower)
        assert known
        assert decision is not None
        assert decision.action is Action.STOP
        assert not caplog.text, "time is no result"
        with caplog.at_level(logging.WARNING):
            journal.replay(observe(cell, 100, 2.1))
        assert "another result (bits_per_byte 2.1 against 2.0" in caplog.text
        assert journal.observations() == [observe(cell, 100, 2.0)]


def test_not_a_number_survives_and_equals_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        cell = journal.cells()[1].key
        journal.record(observe(cell, 100, math.nan), None)
        assert math.isnan(journal.observations()[0].bits_per_byte)
        with caplog.at_level(logging.WARNING):
            journal.replay(observe(cell, 100, math.nan))
        assert not caplog.text


def test_a_failure_keeps_its_traceback(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        cell = journal.cells()[1].key
        journal.start_attempt(cell)
        failure = journal.fail(
            Failure(
                cell=cell,
                kind=FailureClass.CODE,
                reason="KeyError: 'x'",
                traceback="Traceback …\nKeyError: 'x'",
                ended=True,
            )
        )
        assert journal.failures() == [failure]
        assert journal.cell(cell).status is Status.FAILED
        journal.start_attempt(cell)
        assert journal.cell(cell).status is Status.RUNNING
        assert journal.cell(cell).reason == ""


def test_a_failure_of_an_attempt_does_not_end_the_cell(tmp_path: Path) -> None:
    lost = Failure(
        cell="",
        kind=FailureClass.HOST,
        reason="the worker is gone",
        traceback="",
        ended=False,
        host="worker-3",
        tokens=70,
        cause="the node died",
        remedy="retried",
    )
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        first, second, _ = (cell.key for cell in journal.cells())
        journal.start_attempt(first)
        written = journal.fail(replace(lost, cell=first))
        assert written.at > 0
        assert replace(written, at=0.0) == replace(lost, cell=first)
        assert journal.cell(first).status is Status.RUNNING
        other = journal.fail(replace(lost, cell=second, ended=True))
        assert journal.cell(second).status is Status.FAILED
        assert journal.failures() == [written, other]
        assert journal.failures(second) == [other]


def test_divergence_is_a_failure_of_the_numbers_and_stops_the_cell(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        cell = journal.cells()[1].key
        decision = replace(stop(cell, 100), rule=DIVERGED, reason="the loss is nan")
        journal.record(observe(cell, 100, math.nan), decision)
        (failure,) = journal.failures()
        assert (failure.kind, failure.reason) == (FailureClass.NUMBERS, "the loss is nan")
        assert (failure.tokens, failure.ended) == (100, True)
        assert failure.at == journal.decisions()[0].at
        assert journal.cell(cell).status is Status.STOPPED


def test_attempts_say_where_they_run_and_what_they_go_on_from(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        first, second, _ = (cell.key for cell in journal.cells())
        assert journal.start_attempt(first, host="worker-1") == 1
        assert journal.start_attempt(second) == 1
        journal.resumed(second, 0, host="worker-2")
        assert journal.start_attempt(first) == 2
        journal.resumed(first, 300)
        journal.resumed(first, 400)
        attempts = [
            (attempt.cell, attempt.number, attempt.host, attempt.resumed_from)
            for attempt in journal.attempts()
        ]
        assert attempts == [
            (first, 1, "worker-1", None),
            (second, 1, "worker-2", 0),
            (first, 2, "", 300),
        ]
        assert [attempt.number for attempt in journal.attempts(first)] == [1, 2]
        assert journal.cell(first).attempts == 2


def test_the_newest_heartbeat_of_a_cell_stands(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        first, second, _ = (cell.key for cell in journal.cells())
        assert journal.heartbeats() == {}
        journal.beat(first, 500, "worker-1")
        journal.beat(second, 100, "worker-2")
        journal.beat(first, 300, "worker-2")
        beats = journal.heartbeats()
        assert {cell: (beat.tokens, beat.host) for cell, beat in beats.items()} == {
            first: (300, "worker-2"),
            second: (100, "worker-2"),
        }
        assert beats[first].at >= beats[second].at


def test_a_write_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        cell = journal.cells()[1].key
        unknown = replace(stop(cell, 100), cell="nobody")
        with pytest.raises(sqlite3.IntegrityError):
            journal.record(observe(cell, 100, 2.0), unknown)
        assert journal.observations() == []


def test_a_creation_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3.new").write_bytes(b"half of a journal")
    (tmp_path / "journal.sqlite3.new-wal").write_bytes(b"and of its log")
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        assert len(journal.cells()) == 3
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"journal.sqlite3", "journal.sqlite3.lock"}


def test_it_is_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as writer, Journal.open(path, read_only=True) as reader:
        cell = writer.cells()[0].key
        writer.record(observe(cell, 100, 2.0), None)
        assert len(reader.observations()) == 1
        assert reader.arrivals_after(0) == [(1, observe(cell, 100, 2.0))]
        assert reader.arrivals_after(1) == []


def test_files_that_are_no_journal_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal at"):
        Journal.open(tmp_path / "missing.sqlite3")
    text = tmp_path / "text.sqlite3"
    text.write_text("not a database, but long enough to have a header\n" * 20)
    with pytest.raises(JournalError, match="not a readable journal"):
        Journal.open(text)
    other = tmp_path / "other.sqlite3"
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(JournalError, match="holds no sweep"):
        Journal.open(other)
    with pytest.raises(JournalError, match="exists already"):
        new_journal(other)


def test_a_journal_of_the_future_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(JournalError, match=f"schema version {SCHEMA_VERSION + 1}"):
        Journal.open(path)


def test_a_round_and_its_cells_are_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        remove_what_version_7_added(connection)
        connection.execute("PRAGMA user_version = 6")
    with Journal.open(path, read_only=True) as journal:
        assert (journal.rounds(), journal.rounds_left()) == ([], 0)
    with Journal.open(path) as journal:
        cells = journal.cells()
        added = replace(cells[-1], key="another", label="1.1 relu", position=3)
        told = Told(number=1, values={"d_model": 8}, result=Result.STOPPED, score=2.0, tokens=5)
        one = Round(
            number=1,
            search={"sampler": {"cells": 1}},
            told=(told,),
            proposals=(
                Proposal(number=1, values={"n_heads": 3, "d_model": 8}, refused="no heads"),
                Proposal(number=2, values={"n_heads": 2, "betas": [0.9, 0.95]}, cell="another"),
            ),
        )
        with pytest.raises(sqlite3.IntegrityError):  # a proposal without its cell
            journal.propose(one, [])
        assert journal.rounds() == []
        journal.propose(one, [added])
        assert journal.rounds() == [one]
        assert list(journal.rounds()[0].proposals[0].values) == ["n_heads", "d_model"]
        assert [cell.key for cell in journal.cells()] == [*(cell.key for cell in cells), "another"]
        journal.plan_again(journal.sweep(), cells)
        assert journal.rounds() == []


def test_a_journal_of_version_6_keeps_its_scheduler_under_a_new_name(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as journal:
        sweep, cells = journal.sweep(), journal.cells()
        journal.record(observe(cells[1].key, 100, 2.0), stop(cells[1].key, 100))
        before = journal.decisions()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        remove_what_version_7_added(connection)
        connection.execute("PRAGMA user_version = 6")
        old = connection.execute("SELECT rule FROM decisions").fetchall()
        assert old == [("asha",)]
    with Journal.open(path) as journal:
        assert journal.sweep() == sweep and sweep.scheduler["name"] == "asha-stop"
        assert journal.decisions() == before
        assert journal.decisions()[0].arrival == 1


def test_a_journal_of_version_7_knows_no_prices_and_can_learn_them(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as journal:
        cell = journal.cells()[0].key
        journal.start_attempt(cell)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        remove_what_version_8_added(connection)
        connection.execute("PRAGMA user_version = 7")
    with Journal.open(path) as journal:
        (old,) = journal.attempts()
        assert (old.place, old.run, old.ended_at) == (Place(), 0, None)
        assert (journal.runs(), journal.bills()) == ([], [])
        assert journal.begin_run(dollars_per_hour=0.5) == 1
        journal.start_attempt(cell)
        place = Place(worker=3, machine="m", gpu="RTX 3090", dollars_per_hour=0.2, contract=7)
        journal.place(cell, place)
        journal.mark_interrupted()
        old, new = journal.attempts()
        assert old.ended_at is None
        assert (new.place, new.run) == (place, 1)
        assert new.ended_at is not None


def test_a_journal_of_version_10_knows_of_no_shared_gpus_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as journal:
        journal.begin_run()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        remove_what_version_11_added(connection)
        connection.execute("PRAGMA user_version = 10")
    with Journal.open(path) as journal:
        journal.begin_run(cells_per_gpu=3, gpu_sharing="as asked")
        shared = [(run.cells_per_gpu, run.gpu_sharing) for run in journal.runs()]
        assert shared == [(None, ""), (3, "as asked")]


def test_a_journal_of_version_8_knows_no_price_of_its_head(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as journal:
        journal.begin_run(dollars_per_hour=0.5)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        remove_what_version_9_added(connection)
        connection.execute("PRAGMA user_version = 8")
    with Journal.open(path) as journal:
        (old,) = journal.runs()
        assert (old.dollars_per_hour, old.head_dollars_per_hour) == (0.5, None)
        number = journal.begin_run()
        journal.extend_run(number, head_dollars_per_hour=0.01)
        journal.extend_run(number)
        assert [run.head_dollars_per_hour for run in journal.runs()] == [None, 0.01]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_journal_of_version_9_does_not_know_what_ended_its_runs(
    tmp_path: Path, read_only: bool
) -> None:
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as journal:
        journal.end_run(journal.begin_run(), Ending(kind=EndKind.COMPLETE, reason=""))
        assert journal.ending() == Ending(kind=EndKind.COMPLETE, reason="")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        remove_what_version_10_added(connection)
        connection.execute("PRAGMA user_version = 9")
    with Journal.open(path, read_only=read_only) as journal:
        assert (len(journal.runs()), journal.ending()) == (1, None)
        if read_only:
            return
        spent = Ending(kind=EndKind.DOLLARS, reason="$5.00 of --max-dollars 5 is spent")
        journal.end_run(journal.begin_run(), spent)
        assert (journal.ending(), str(spent)) == (spent, f"paused: {spent.reason}")
