"""What is done about a failure, decided without a process."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
import torch

from tune_app.faults.policy import (
    EARLY_IN_A_ROW,
    classify,
    micro_batch_size,
    respond,
    suspicion,
)
from tune_app.journal.records import Failure, FailureClass
from tune_app.stores.base import StoreFullError, StoreRefusedError, StoreUnreachableError, TornError

DEATH = Failure(
    cell="abc",
    kind=FailureClass.HOST,
    reason="ActorDiedError",
    traceback="",
    ended=False,
    host="a/1",
    tokens=5_000,
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ZeroDivisionError(), FailureClass.CODE),
        (RuntimeError("shapes do not fit"), FailureClass.CODE),
        (FileNotFoundError(errno.ENOENT, "no corpus"), FailureClass.CODE),
        (StoreRefusedError("wrong key"), FailureClass.CODE),
        (StoreUnreachableError("no answer"), FailureClass.STORAGE),
        (StoreFullError("full"), FailureClass.STORAGE),
        (TornError("torn"), FailureClass.STORAGE),
        (OSError(errno.ENOSPC, "no space"), FailureClass.STORAGE),
        (OSError(errno.EIO, "bad disk"), FailureClass.STORAGE),
        (torch.OutOfMemoryError("CUDA out of memory"), FailureClass.MEMORY),
        (MemoryError(), FailureClass.MEMORY),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), FailureClass.HOST),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), FailureClass.MEMORY),
    ],
)
def test_an_exception_has_a_class(error: Exception, kind: FailureClass) -> None:
    assert classify(error) is kind


def test_an_error_in_the_code_ends_the_cell_at_once() -> None:
    failure = replace(DEATH, kind=FailureClass.CODE, traceback="Traceback …")
    answer = respond(failure, [], batch_size=8).failure
    assert answer.ended
    assert answer.traceback == "Traceback …"


@pytest.mark.parametrize("kind", [FailureClass.STORAGE, FailureClass.NETWORK, FailureClass.HOST])
def test_what_the_cell_is_not_to_blame_for_is_retried_without_limit(kind: FailureClass) -> None:
    failure = replace(DEATH, kind=kind, cause="its node died")
    answer = respond(failure, [replace(failure, host=f"{n}") for n in range(500)], batch_size=8)
    assert not answer.failure.ended
    assert answer.failure.remedy == "retried"


def test_three_deaths_at_one_step_on_two_hosts_are_a_defect() -> None:
    elsewhere = replace(DEATH, host="b/2")
    assert not respond(elsewhere, [DEATH], batch_size=8).failure.ended
    answer = respond(elsewhere, [DEATH, DEATH], batch_size=8).failure
    assert answer.ended
    assert answer.kind is FailureClass.CODE
    assert "died 3 times at 5,000 tokens, on a, b" in answer.reason


def test_deaths_on_one_host_may_be_the_hosts_fault() -> None:
    assert not respond(DEATH, [DEATH] * 8, batch_size=8).failure.ended
    again = replace(DEATH, host="a/2")
    assert not respond(again, [DEATH, DEATH, again], batch_size=8).failure.ended, "one machine"
    unknown = replace(DEATH, host="")
    assert not respond(unknown, [DEATH, unknown], batch_size=8).failure.ended, "perhaps the same"
    assert respond(DEATH, [DEATH] * 9, batch_size=8).failure.ended, "ten are enough"


def test_deaths_at_different_steps_are_no_defect() -> None:
    earlier = [replace(DEATH, tokens=1_000 * n, host=f"{n}") for n in range(5)]
    assert not respond(replace(DEATH, tokens=5_000), earlier, batch_size=8).failure.ended
    # As heartbeats come once a second, one step has several last heartbeats.
    near = [replace(DEATH, tokens=4_900), replace(DEATH, tokens=5_100, host="b/2")]
    assert respond(DEATH, near, batch_size=8, stride=200).failure.ended
    assert not respond(DEATH, near, batch_size=8, stride=50).failure.ended


def test_deaths_with_a_known_cause_do_not_count() -> None:
    known = replace(DEATH, host="b/2", cause="its node died")
    assert not respond(DEATH, [known, known], batch_size=8).failure.ended


def test_a_cell_that_was_given_up_and_tried_again_starts_with_a_clean_slate() -> None:
    earlier = [DEATH, DEATH, replace(DEATH, host="b/2", ended=True)]
    assert not respond(replace(DEATH, host="b/2"), earlier, batch_size=8).failure.ended


def test_out_of_memory_halves_the_micro_batch_once() -> None:
    failure = replace(DEATH, kind=FailureClass.MEMORY)
    first = respond(failure, [], batch_size=8)
    assert first.micro_batch_size == 4
    assert not first.failure.ended
    assert "micro-batches of 4, the same 8 a step" in first.failure.remedy
    second = respond(failure, [first.failure], batch_size=8)
    assert second.failure.ended
    assert second.micro_batch_size is None
    assert micro_batch_size([first.failure], batch_size=8) == 4, "a new driver keeps to it"
    assert micro_batch_size([DEATH], batch_size=8) is None


def test_out_of_memory_halves_the_parts_that_were_wished_for() -> None:
    failure = replace(DEATH, kind=FailureClass.MEMORY)
    assert respond(failure, [], batch_size=8, at_once=4).micro_batch_size == 2
    answer = respond(failure, [], batch_size=8, at_once=1).failure
    assert answer.ended
    assert "a micro-batch of 1 cannot be halved" in answer.remedy


def test_a_batch_that_cannot_be_halved_ends_the_cell() -> None:
    failure = replace(DEATH, kind=FailureClass.MEMORY)
    answer = respond(failure, [], batch_size=1).failure
    assert answer.ended
    assert "a batch of 1 cannot be halved" in answer.remedy


EARLY = replace(
    DEATH, kind=FailureClass.CODE, reason="ModuleNotFoundError: No module named 'x'", tokens=0
)


def early(
    failure: Failure, earlier: list[Failure], hosts: int | None, hosts_now: int | None = None
) -> Failure:
    return respond(
        failure,
        earlier,
        batch_size=8,
        early=True,
        hosts=hosts,
        hosts_now=(hosts or 1) if hosts_now is None else hosts_now,
    ).failure


def test_a_failure_before_the_first_step_is_the_hosts_until_another_host_agrees() -> None:
    failures: list[Failure] = []
    for _ in range(20):
        failures.append(early(EARLY, failures, 2))
    assert {failure.kind for failure in failures} == {FailureClass.HOST}
    assert not any(failure.ended for failure in failures)
    assert "if ModuleNotFoundError happens on another machine" in failures[0].remedy
    other_error = replace(EARLY, host="b/2", reason="StoreRefusedError: no such key")
    assert not early(other_error, failures, 2).ended, "another class says nothing"
    agrees = early(replace(EARLY, host="b/2", reason="ModuleNotFoundError: y"), failures, 2)
    assert agrees.ended
    assert agrees.kind is FailureClass.CODE
    assert "ModuleNotFoundError before its first step on a, b" in agrees.remedy


def test_the_only_host_of_a_cluster_has_three_tries() -> None:
    failures: list[Failure] = []
    for _ in range(3):
        failures.append(early(EARLY, failures, 1))
    assert [failure.ended for failure in failures] == [False, False, True]
    assert "3 times on the only machine" in failures[-1].remedy


def test_where_others_may_come_and_none_does_the_only_host_has_ten_tries() -> None:
    failures: list[Failure] = []
    for _ in range(EARLY_IN_A_ROW):
        failures.append(early(EARLY, failures, 8, 1))
    assert [failure.ended for failure in failures] == [False] * (EARLY_IN_A_ROW - 1) + [True]
    assert "10 times in a row on the only machine so far" in failures[-1].remedy
    assert failures[-1].kind is FailureClass.CODE
    broken = [*failures[:5], DEATH, *failures[5:-1]]
    assert not early(EARLY, broken, 8, 1).ended, "not in a row"
    assert not early(EARLY, failures, 8, 1).ended, "who tries it again starts with a clean slate"


TORN = replace(
    DEATH, kind=FailureClass.STORAGE, reason="tune_app.stores.base.TornError: part 3", tokens=0
)


@pytest.mark.parametrize("hosts", ["aaaaaaaaaa", "ababababab"])
def test_a_store_that_fails_each_start_ends_the_cell(hosts: str) -> None:
    failures: list[Failure] = []
    for host in hosts:
        failures.append(early(replace(TORN, host=f"{host}/1"), failures, 4, len(set(hosts))))
    assert [failure.ended for failure in failures] == [False] * 9 + [True]
    assert {failure.kind for failure in failures} == {FailureClass.STORAGE}
    assert f"10 times in a row, on {', '.join(sorted(set(hosts)))}" in failures[-1].remedy


def test_a_disk_of_one_machine_says_nothing_of_the_cell_while_others_are_there() -> None:
    full = replace(TORN, reason="OSError: [Errno 28] No space left on device")
    failures: list[Failure] = []
    for _ in range(30):
        failures.append(early(full, failures, 4, 2))
    assert not any(failure.ended for failure in failures)
    both = [failures[0], replace(failures[0], cell="def")]
    assert "No space left on device" in str(suspicion(both, "a/1")), "the machine is named"


def test_a_store_that_is_away_is_no_hosts_fault() -> None:
    away = replace(TORN, reason="tune_app.stores.base.StoreUnreachableError: no answer")
    one = early(away, [], 2)
    assert suspicion([one, replace(one, cell="def")], "a/1") is None


def test_on_this_machine_alone_a_store_that_fails_each_start_is_asked_without_limit() -> None:
    failures = [replace(TORN, remedy="retried")] * 50
    assert not early(TORN, failures, None).ended


def test_a_raylet_that_started_anew_is_no_other_host() -> None:
    first = early(EARLY, [], 2)
    assert not early(replace(EARLY, host="a/9"), [first], 2).ended
    assert not early(replace(EARLY, host=""), [first], 2).ended, "nobody knows where it was"


def test_without_a_cluster_or_after_the_first_step_an_error_ends_the_cell_at_once() -> None:
    assert early(EARLY, [], None).ended
    assert respond(EARLY, [], batch_size=8, early=False, hosts=4).failure.ended


def test_early_failures_do_not_count_as_deaths() -> None:
    kept = [early(replace(EARLY, host=f"{host}/1"), [], 3) for host in "abab"]
    assert not respond(replace(DEATH, tokens=0), kept, batch_size=8).failure.ended


def test_a_host_that_fails_several_cells_at_once_is_named() -> None:
    one = early(EARLY, [], 2)
    assert suspicion([one, one, one], "a/1") is None, "one cell may be to blame"
    both = [one, replace(one, cell="def", host="a/2")]
    doubt = suspicion(both, "a/2")
    assert doubt is not None
    assert "on a/2 2 cells failed before their first step" in doubt
    assert "No module named 'x'" in doubt
    assert suspicion(both, "b/1") is None
    assert suspicion([replace(DEATH, cell=cell) for cell in "xyz"], "a/1") is None
