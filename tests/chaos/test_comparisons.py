"""The checks of a chaos run find what is wrong, and say which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.chaos import comparisons as must
from tests.chaos.faults import Blow
from tests.tune_app.observations import changed
from tests.tune_app.sweeps import observe
from tune_app.journal.records import (
    Action,
    Attempt,
    CellRecord,
    Decision,
    Failure,
    FailureClass,
    Status,
)

CURVE = [observe("a", tokens, 2.0 - tokens / 1_000) for tokens in (100, 200, 300)]


def decision(cell: str, tokens: int) -> Decision:
    return Decision(
        cell=cell,
        tokens=tokens,
        action=Action.STOP,
        rule="asha",
        reason="behind",
        evidence={"cutoff": 1.5},
        at=1.0,
    )


def failure(kind: FailureClass, *, at: float, cell: str = "a", ended: bool = False) -> Failure:
    return Failure(cell=cell, kind=kind, reason="lost", traceback="", ended=ended, at=at)


def blow(kind: str, *, at: float, cell: str = "a", seconds: float = 0.0, number: int = 1) -> Blow:
    return Blow(number=number, kind=kind, at=at, reached={cell: 100}, seconds=seconds)


def attempt(resumed_from: int | None, *, at: float = 20.0) -> Attempt:
    return Attempt(cell="a", number=2, host="h", started_at=at, resumed_from=resumed_from)


def test_the_same_curve_at_another_speed_is_the_same() -> None:
    slower = [
        changed(replace(point, seconds={"train": 9.0}), tokens_per_second=1.0) for point in CURVE
    ]
    assert must.differing_curves(slower, CURVE) == []


def test_the_last_bit_of_a_curve_counts() -> None:
    other = [*CURVE[:2], changed(CURVE[2], train_loss=1.0 + 2**-52)]
    (wrong,) = must.differing_curves(other, CURVE)
    assert wrong.startswith("a at 300 tokens: train_loss 1.0000000000000002 not 1.0")


def test_missing_and_additional_observations_are_told_apart() -> None:
    assert must.differing_curves(CURVE[:2], CURVE) == ["a has nothing at 300 tokens"]
    (wrong,) = must.differing_curves(CURVE, CURVE[:2])
    assert "300 tokens, only after faults" in wrong


def test_losses_that_are_no_number_are_equal_to_themselves() -> None:
    nan = [changed(CURVE[0], train_loss=float("nan"))]
    again = [changed(CURVE[0], train_loss=float("nan"))]
    assert must.differing_curves(nan, again) == []


def test_duplicates_are_named() -> None:
    assert must.duplicates([*CURVE, CURVE[1]]) == ["a at 200 tokens"]
    assert must.duplicates(CURVE) == []


def test_decisions_are_compared_without_their_time() -> None:
    later = replace(decision("a", 100), at=99.0)
    assert must.changed_decisions([later], [decision("a", 100)], in_order=True) == []
    changed = replace(decision("a", 100), evidence={"cutoff": 1.6})
    wrong = must.changed_decisions([changed], [decision("a", 100)], in_order=True)
    assert [line.split(":")[0] for line in wrong] == ["not taken", "taken only after faults"]


def test_the_order_of_decisions_counts_where_it_is_said_to() -> None:
    two = [decision("a", 100), decision("b", 100)]
    assert must.changed_decisions(two[::-1], two, in_order=False) == []
    assert must.changed_decisions(two[::-1], two, in_order=True) != []


def test_a_cell_that_did_not_finish_is_named_with_its_reason() -> None:
    cell = CellRecord(
        key="k", label="2.66", position=0, values={}, status=Status.FAILED, reason="out of luck"
    )
    assert must.unfinished([cell]) == ["2.66 is failed: out of luck"]
    assert must.unfinished([replace(cell, status=Status.FINISHED)]) == []


def test_a_failure_needs_a_fault_of_its_kind_before_it() -> None:
    killed = [blow("worker killed", at=10.0)]
    assert must.unexplained_failures([failure(FailureClass.HOST, at=11.0)], killed) == []
    for wrong in (
        failure(FailureClass.HOST, at=9.0),
        failure(FailureClass.HOST, at=11.0, cell="b"),
        failure(FailureClass.CODE, at=11.0),
        failure(FailureClass.HOST, at=11.0, ended=True),
    ):
        assert len(must.unexplained_failures([wrong], killed)) == 1


def test_a_long_pause_explains_what_comes_after_it() -> None:
    paused = [blow("node paused", at=10.0, seconds=60.0)]
    late = failure(FailureClass.HOST, at=10.0 + 60.0 + must.NOTICED_WITHIN)
    assert must.unexplained_failures([late], paused) == []
    assert must.unexplained_failures([replace(late, at=late.at + 1)], paused) != []


def test_a_store_that_was_away_explains_the_failure_of_any_cell() -> None:
    away = [blow("store away", at=10.0)]
    assert must.unexplained_failures([failure(FailureClass.STORAGE, at=11, cell="b")], away) == []


def test_a_death_must_be_noticed_unless_the_driver_died_with_it() -> None:
    killed = blow("worker killed", at=10.0)
    again = [attempt(0, at=14.0)]
    (wrong,) = must.unnoticed_faults([], [killed], again)
    assert "fault 1, worker killed, of a" in wrong
    assert must.unnoticed_faults([failure(FailureClass.HOST, at=10.5)], [killed], again) == []
    driver = blow("driver killed", at=11.0, number=2)
    assert must.unnoticed_faults([], [killed, driver], again) == []
    assert must.unnoticed_faults([], [killed], []) == [], "it had sent its last report"


def test_an_ended_cell_keeps_its_attempts() -> None:
    assert must.trained_again({"a": 1}, {"a": 1, "b": 3}) == []
    assert len(must.trained_again({"a": 1}, {"a": 2})) == 1


def test_an_attempt_goes_on_from_what_was_stored_at_the_last_fault() -> None:
    blows = [
        replace(blow("store away", at=10.0), stored={"a": 300}),
        replace(blow("checkpoint torn", at=15.0, number=2), stored={"a": 200}),
        replace(blow("worker killed", at=30.0, number=3), stored={"a": 400}),
    ]
    for resumed_from in (200, 250, None):
        assert must.forgotten_checkpoints([attempt(resumed_from)], blows) == []
    (wrong,) = must.forgotten_checkpoints([attempt(0)], blows)
    assert wrong == "attempt 2 of a went on from 0 tokens; 200 were stored at fault 2"


def test_leftovers_are_found_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "1.pt.abc.tmp").touch()
    (tmp_path / "stellux-x").mkdir()
    (tmp_path / "sweep" / ".tune").mkdir(parents=True)
    (tmp_path / "journal.sqlite3").touch()
    assert [Path(path).name for path in must.leftovers(tmp_path, scratch=".tune")] == [
        "1.pt.abc.tmp",
        "stellux-x",
        ".tune",
    ]


def test_warnings_of_a_driver_are_found_in_its_output() -> None:
    output = "ok\nWARNING: cell a repeated its observation at 5 tokens with another result (x); …\n"
    assert len(must.differing_replays(output)) == 1
    assert must.tracebacks(output) == []


def test_a_lost_actor_is_no_error_of_the_driver() -> None:
    head = "Traceback (most recent call last):\n  File x\n    call()\n"
    lost = f"{head}ray.exceptions.ActorDiedError: The actor died\n\tpid: 3\n"
    assert must.tracebacks(lost) == []
    assert must.tracebacks(f"{lost}{head}KeyError: 'a'\n") == ["KeyError: 'a'"]
