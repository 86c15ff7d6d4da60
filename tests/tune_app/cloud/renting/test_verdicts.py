"""What becomes of an instance, as a pure function of what is listed and what is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.cloud.renting.instances import running
from tune_app.cloud.ledger.endings import EndKind
from tune_app.cloud.market.labels import Label, checked_name
from tune_app.cloud.market.records import Instance
from tune_app.cloud.renting.head_id import own_head_id, read_head_id
from tune_app.cloud.renting.settings import Patience
from tune_app.cloud.renting.verdicts import (
    Action,
    Known,
    RequestState,
    Verdict,
    judge,
    launch_allowed_at,
)

NOW = 1_780_000_000.0
LABEL = Label(cluster="mine", node_type="worker", k=5, attempt="request.1")
RUNNING = running(
    id=77, label=LABEL.text, dollars_per_hour=0.26, cpus=16.0, storage_per_gb_month=0.18
)
RENTED = Known(
    state=RequestState.RENTED,
    contract=77,
    bid=0.25,
    storage_per_hour=0.01,
    since=NOW - 60,
    silent_since=None,
    link_up=None,
    answer_pending=False,
    doomed="",
)
LOADING = replace(RUNNING, status="loading", message="pulling the image")
STOPPED = replace(RUNNING, status="exited", current="stopped", intended="stopped", next="stopped")


def verdict(instance: Instance, known: Known | None) -> Verdict:
    return judge(
        instance, known, cluster="mine", now=NOW, patience=Patience(), price_tolerance=0.05
    )


@pytest.mark.parametrize("status", ["running", "loading", "", "created", "rebooting", "frozen"])
def test_what_was_asked_for_stays(status: str) -> None:
    assert verdict(replace(RUNNING, status=status), RENTED).action is Action.KEEP


@pytest.mark.parametrize(
    "label", ["", "by hand", "stellux/other/worker/5/request.1", "stellux/mine/worker/x/y"]
)
def test_what_is_not_ours_is_never_touched(label: str) -> None:
    assert verdict(replace(STOPPED, label=label), None).action is Action.IGNORE


def test_an_unanswered_request_is_adopted_by_its_label() -> None:
    for state in (RequestState.SENDING, RequestState.UNCERTAIN):
        known = replace(RENTED, state=state, contract=None)
        assert verdict(RUNNING, known).action is Action.ADOPT
        assert verdict(RUNNING, replace(known, answer_pending=True)).action is Action.KEEP
        assert verdict(STOPPED, known).action is Action.DESTROY


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (None, "does not know its request"),
        (replace(RENTED, state=RequestState.FAILED), "has failed"),
        (replace(RENTED, state=RequestState.ENDED), "has ended"),
        (replace(RENTED, contract=78), "rented instance 78"),
    ],
)
def test_what_has_no_owner_is_destroyed(known: Known | None, said: str) -> None:
    found = verdict(RUNNING, known)
    assert found.action is Action.DESTROY
    assert said in found.reason
    assert not found.avoid_machine


def test_outbid_is_destroyed_without_blaming_the_machine() -> None:
    found = verdict(STOPPED, RENTED)
    assert (found.action, found.avoid_machine) == (Action.DESTROY, False)
    assert "outbid" in found.reason
    stopping = replace(STOPPED, next="running")
    assert verdict(replace(stopping, status="running"), RENTED).action is Action.KEEP


def test_another_price_or_kind_is_destroyed_and_the_machine_avoided() -> None:
    dear = verdict(replace(RUNNING, dollars_per_hour=0.28), RENTED)
    assert (dear.action, dear.avoid_machine) == (Action.DESTROY, True)
    assert "costs $0.2800/h; the agreed price is $0.2600/h" in dear.reason
    assert verdict(replace(RUNNING, dollars_per_hour=0.27), RENTED).action is Action.KEEP
    on_demand = verdict(replace(RUNNING, is_bid=False), RENTED)
    assert (on_demand.action, on_demand.avoid_machine) == (Action.DESTROY, True)


@pytest.mark.parametrize("status", ["unknown", "offline", "frozen", "never heard of"])
def test_silence_is_borne_for_two_minutes_and_longer_while_the_link_is_open(status: str) -> None:
    silent = replace(RUNNING, status=status)
    assert verdict(silent, replace(RENTED, silent_since=NOW - 119)).action is Action.KEEP
    lost = replace(RENTED, silent_since=NOW - 120)
    assert verdict(silent, lost).action is Action.DESTROY
    assert verdict(silent, replace(lost, link_up=False)).avoid_machine
    assert verdict(silent, replace(lost, link_up=True)).action is Action.KEEP
    assert verdict(RUNNING, lost).action is Action.KEEP, "it has a heartbeat again"


def test_loading_is_borne_for_fifteen_minutes() -> None:
    assert verdict(LOADING, replace(RENTED, since=NOW - 899)).action is Action.KEEP
    found = verdict(LOADING, replace(RENTED, since=NOW - 900))
    assert (found.action, found.avoid_machine) == (Action.DESTROY, True)
    assert "loading after 900 s: pulling the image" in found.reason
    assert verdict(RUNNING, replace(RENTED, since=NOW - 9_000)).action is Action.KEEP
    there = replace(RENTED, since=NOW - 900, link_up=True)
    assert verdict(LOADING, there).action is Action.KEEP, "the API is late"


def test_a_container_that_runs_without_a_link_is_borne_as_long_as_one_that_loads() -> None:
    apart = replace(RENTED, since=NOW - 9_000, link_up=False)
    assert verdict(RUNNING, replace(apart, unlinked_since=NOW - 899)).action is Action.KEEP
    found = verdict(RUNNING, replace(apart, unlinked_since=NOW - 900))
    assert (found.action, found.avoid_machine) == (Action.DESTROY, True)
    assert found.reason == "running, but its link is not open for 900 s"


def test_a_container_that_ended_is_destroyed() -> None:
    assert verdict(replace(RUNNING, status="exited"), RENTED).action is Action.DESTROY


def test_what_its_host_or_its_market_takes_away_is_told_from_what_is_given_back() -> None:
    silent = replace(RENTED, silent_since=NOW - 121)
    closed = replace(RENTED, link_up=False, unlinked_since=NOW - 901, linked=True)
    for instance, known in (
        (STOPPED, RENTED),
        (replace(RUNNING, status="exited"), RENTED),
        (replace(RUNNING, status="offline"), silent),
        (replace(RUNNING, status="frozen"), silent),
        (RUNNING, closed),
    ):
        found = verdict(instance, known)
        assert (found.action, found.by) == (Action.DESTROY, EndKind.TAKEN_AWAY), found
        assert (found.ending.kind, found.ending.reason) == (found.by, found.reason)
    for instance, known in (
        (RUNNING, replace(closed, linked=False)),
        (LOADING, replace(RENTED, since=NOW - 901)),
        (replace(RUNNING, dollars_per_hour=1.0), RENTED),
        (replace(RUNNING, is_bid=False), RENTED),
        (RUNNING, None),
    ):
        found = verdict(instance, known)
        assert (found.action, found.by) == (Action.DESTROY, EndKind.RETURNED), found


def test_doomed_stays_doomed() -> None:
    found = verdict(RUNNING, replace(RENTED, doomed="asked for"))
    assert (found.action, found.reason) == (Action.DESTROY, "asked for")


def test_failed_launches_wait_longer_each_time() -> None:
    patience = Patience(backoff=10, backoff_most=60)
    waits = [launch_allowed_at(failures, 100.0, patience) - 100 for failures in range(6)]
    assert waits == [0, 10, 20, 40, 60, 60]
    assert launch_allowed_at(10_000, 0.0, patience) == 60


def test_labels_come_back_and_stay_short() -> None:
    assert Label.parse(LABEL.text) == LABEL
    longest = Label(cluster="c" * 60, node_type="t" * 60, k=127, attempt="r" * 60 + ".999999")
    assert len(longest.text) <= 256
    for name in ("", "a/b", "a b", "x" * 61, ".hidden", "ü"):
        with pytest.raises(ValueError, match="letters"):
            checked_name("cluster's name", name)


def test_two_heads_of_one_name_leave_each_others_workers_alone() -> None:
    def action(label: Label, head: str) -> Action:
        return judge(
            replace(RUNNING, label=label.text),
            None,
            cluster="mine",
            head=head,
            now=NOW,
            patience=Patience(),
            price_tolerance=0.05,
        ).action

    of_a_head = replace(LABEL, head="h00000001")
    assert of_a_head.text == f"{LABEL.text}/h00000001"
    assert Label.parse(of_a_head.text) == of_a_head
    assert action(of_a_head, "h00000001") is Action.DESTROY  # its ledger does not know it
    assert action(of_a_head, "h00000002") is Action.IGNORE
    assert action(LABEL, "h00000002") is Action.DESTROY  # of a version without heads in labels


def test_a_head_keeps_its_id(tmp_path: Path) -> None:
    assert read_head_id(tmp_path) == ""
    made = own_head_id(tmp_path)
    assert own_head_id(tmp_path) == read_head_id(tmp_path) == made
    (tmp_path / "head_id").write_text("../x")
    assert read_head_id(tmp_path) == ""
