"""The ledger: what was announced is there after a crash, and hours and dollars add up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.renting.test_verdicts import RUNNING, STOPPED
from tests.tune_app.cloud.vast.fake_vast import offer
from tune_app.cloud.errors import FullError, InFlightError
from tune_app.cloud.ledger.endings import EndKind, returned, taken_away
from tune_app.cloud.ledger.file import LedgerError
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.ledger.records import Attempt
from tune_app.cloud.ledger.states import RequestState
from tune_app.cloud.market.records import Charge
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.renting.offers import quote
from tune_app.cloud.vast.answers import read_offer

QUOTE = quote(read_offer(offer(1)), OfferRules())
LISTED = 0.25
"""The GPU's price in the list, a little over the bid."""


def opened(folder: Path, clock: Clock, *, slots: range = range(2, 5)) -> Ledger:
    return Ledger.open(folder / "ledger.sqlite3", cluster="mine", slots=slots, clock=clock)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with opened(tmp_path, clock) as made:
        yield made


def reserve(ledger: Ledger, request: str, *, at_most: int = 8) -> Attempt:
    return ledger.reserve(request, cluster="mine", node_type="worker", quote=QUOTE, at_most=at_most)


def test_an_attempt_has_a_label_and_a_k_of_its_own(ledger: Ledger) -> None:
    one, two = reserve(ledger, "a"), reserve(ledger, "b")
    assert (one.label, one.k) == ("stellux/mine/worker/2/a.1", 2)
    assert (two.label, two.k) == ("stellux/mine/worker/3/b.1", 3)
    assert one.state is RequestState.SENDING


def test_a_request_in_flight_or_rented_is_not_sent_again(ledger: Ledger) -> None:
    attempt = reserve(ledger, "a")
    for _ in range(2):
        with pytest.raises(InFlightError, match="request a is"):
            reserve(ledger, "a")
        ledger.uncertain(attempt.id, "no answer")
    ledger.rented(attempt.id, 77)
    with pytest.raises(InFlightError, match="rented"):
        reserve(ledger, "a")
    ledger.ended(77, returned("outbid"))
    assert reserve(ledger, "a").id == "a.2"


def test_ks_are_handed_out_once_and_the_longest_free_one_first(
    ledger: Ledger, clock: Clock
) -> None:
    attempts = [reserve(ledger, name) for name in "abc"]
    with pytest.raises(FullError, match="3 workers"):
        reserve(ledger, "d")
    clock.now += 1
    ledger.failed(attempts[1].id, "refused")
    clock.now += 1
    ledger.failed(attempts[0].id, "refused")
    assert [reserve(ledger, name).k for name in "de"] == [3, 2]


def test_no_more_than_allowed(ledger: Ledger) -> None:
    reserve(ledger, "a", at_most=1)
    with pytest.raises(FullError, match="raise max_instances"):
        reserve(ledger, "b", at_most=1)


def test_what_was_announced_is_there_after_a_crash(tmp_path: Path, clock: Clock) -> None:
    first = opened(tmp_path, clock)
    attempt = reserve(first, "a")
    # No close: the process is gone. A second connection sees the write-ahead log.
    with opened(tmp_path, clock) as second:
        assert second.in_flight() == [attempt]
        assert reserve(second, "b").k == 3
    first.close()


def test_hours_and_dollars_by_the_clock(ledger: Ledger, clock: Clock) -> None:
    ledger.rented(reserve(ledger, "a").id, RUNNING.id)
    storage, running = QUOTE.storage_per_hour, LISTED + QUOTE.bandwidth_per_hour
    clock.now += 1800
    ledger.observe(replace(RUNNING, status="loading"))
    loading = QUOTE.setup + 0.5 * LISTED
    assert ledger.spent() == pytest.approx(loading + 0.5 * storage), "until the charges say less"
    for _ in range(4):
        clock.now += 900
        ledger.observe(RUNNING)
    assert ledger.spent() == pytest.approx(loading + 1.5 * storage + running)
    ledger.observe(STOPPED)
    clock.now += 7200
    ledger.observe(STOPPED)
    assert ledger.spent() == pytest.approx(loading + 3.5 * storage + running)
    ledger.observe(replace(RUNNING, status="offline"))
    clock.now += 7200
    ledger.observe(replace(RUNNING, status="offline"))
    ledger.ended(RUNNING.id, returned("lost"))
    clock.now += 7200
    (rental,) = ledger.rentals()
    assert rental.hours == pytest.approx(5.5)
    assert rental.gpu_hours == pytest.approx(1.0)
    assert ledger.spent() == pytest.approx(loading + 3.5 * storage + running)


def test_a_price_above_the_agreed_one_is_counted(ledger: Ledger, clock: Clock) -> None:
    ledger.rented(reserve(ledger, "a").id, RUNNING.id)
    clock.now += 3600
    ledger.observe(replace(RUNNING, dollars_per_hour=1.0))
    assert ledger.spent() >= 1.0


def test_an_instance_costs_money_since_the_market_says_that_it_exists(
    ledger: Ledger, clock: Clock
) -> None:
    clock.now += 86_400  # the head's clock is a day ahead
    ledger.rented(reserve(ledger, "a").id, RUNNING.id)
    clock.now -= 86_400
    started = clock.now
    for _ in range(20):
        clock.now += 3600
        ledger.observe(replace(RUNNING, started=started))
    assert ledger.rentals()[0].hours == pytest.approx(20)
    assert ledger.spent() == pytest.approx(
        QUOTE.setup + 20 * (LISTED + QUOTE.storage_per_hour + QUOTE.bandwidth_per_hour)
    )
    ledger.foreign(replace(RUNNING, id=78, started=clock.now - 7200))
    ledger.ended(78, returned("no owner"))
    assert ledger.rentals()[1].dollars == pytest.approx(2 * 0.26)


def test_charges_count_where_they_are_higher_than_the_estimate(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.rented(reserve(ledger, "a").id, 77)
    clock.now += 3600
    ledger.observe(RUNNING)
    estimated = ledger.spent()
    ledger.reconcile([Charge(contract=77, dollars=0.01, parts={})])
    assert ledger.spent() == estimated, "charges appear late"
    ledger.reconcile(
        [Charge(contract=77, dollars=5.0, parts={}), Charge(contract=1, dollars=99.0, parts={})]
    )
    assert ledger.spent() == 5.0, "other contracts of the account are not this cluster's"
    clock.now += 3600
    ledger.observe(RUNNING)
    assert ledger.spent() > 5.2, "what is not charged yet counts on top"
    ledger.ended(77, returned("outbid"))
    clock.now += 2 * 86_400
    ledger.reconcile([Charge(contract=77, dollars=0.3, parts={})])
    assert ledger.spent() == 0.3, "after a day nothing more is charged"


def test_since_when_an_instance_is_silent(ledger: Ledger, clock: Clock) -> None:
    ledger.rented(reserve(ledger, "a").id, 77)
    silent = []
    for status in ("running", "unknown", "offline", "running", "unknown"):
        clock.now += 10
        ledger.observe(replace(RUNNING, status=status))
        since = ledger.live()[0].silent_since
        silent.append(None if since is None else clock.now - since)
    assert silent == [None, 0, 10, None, 0]


def test_failures_in_a_row(ledger: Ledger, clock: Clock) -> None:
    ledger.launch_failed("worker", "no offer")
    ledger.failed(reserve(ledger, "a").id, "taken")
    assert ledger.launch_failures("worker") == (2, clock.now, "taken")
    assert ledger.launch_failures("other")[0] == 0
    ledger.rented(reserve(ledger, "b").id, 77)
    assert ledger.launch_failures("worker")[0] == 0
    ledger.ended(77, returned("never loaded"))
    assert ledger.launch_failures("worker")[0] == 1, "it never ran: the launch came to nothing"
    ledger.rented(reserve(ledger, "c").id, 78)
    ledger.observe(replace(RUNNING, id=78))
    ledger.ended(78, returned("outbid"))
    assert ledger.launch_failures("worker")[0] == 0, "it ran: bad luck, not a bad launch"


def test_a_bad_worker_counts_until_a_later_one_has_proved_itself(
    ledger: Ledger, clock: Clock
) -> None:
    def rent(request: str, contract: int) -> None:
        clock.now += 10
        ledger.rented(reserve(ledger, request).id, contract)

    rent("a", 77)
    for number, request in ((78, "b"), (79, "c")):
        rent(request, number)
        ledger.bad_worker(number, "its set-up failed")
        ledger.bad_worker(number, "told twice")
        ledger.ended(number, returned("its set-up failed"))  # it never ran: the same failure
    rent("d", 80)
    assert ledger.launch_failures("worker")[::2] == (2, "its set-up failed")
    ledger.proved(77)
    assert ledger.launch_failures("worker")[0] == 2, "it says nothing of those after it"
    ledger.proved(80)
    assert ledger.launch_failures("worker")[0] == 0


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_ledger_of_a_version_before_is_brought_up(
    tmp_path: Path, clock: Clock, version: int
) -> None:
    with opened(tmp_path, clock) as ledger:
        ledger.rented(reserve(ledger, "a").id, 77)
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as before:
        if version == 1:
            before.execute("DROP TABLE bad_workers")
        if version <= 2:
            for table in ("credit", "drains", "stays"):
                before.execute(f"DROP TABLE {table}")
            before.execute("ALTER TABLE cluster DROP COLUMN lost")
        before.execute("ALTER TABLE instances DROP COLUMN ended_by")
        before.execute(f"PRAGMA user_version = {version}")
    before.close()
    with opened(tmp_path, clock) as ledger:
        ledger.bad_worker(77, "its set-up failed")
        assert ledger.launch_failures("worker")[0] == 1
        assert (ledger.drain(), ledger.credit(), ledger.lost()) == (None, None, "")


ENDED_UNTIL_VERSION_3 = {
    "stopped: outbid, or by hand; its storage bills": EndKind.TAKEN_AWAY,
    "gone, but not ended by this cluster": EndKind.TAKEN_AWAY,
    "its container has ended": EndKind.TAKEN_AWAY,
    "offline for 130 s, and its link is not open": EndKind.TAKEN_AWAY,
    "unknown for 130 s, and its link is not open": EndKind.TAKEN_AWAY,
    "nothing came over its link for 181 s": EndKind.TAKEN_AWAY,
    "its link is closed for 11 s": EndKind.TAKEN_AWAY,
    "Its link is closed for 11 s": EndKind.RETURNED,
    "terminated by Ray": EndKind.RETURNED,
    "the cap of $1.00 is spent": EndKind.RETURNED,
    "running, but its link is not open for 900 s": EndKind.RETURNED,
    "known from the charges alone; its record was lost": None,
}
"""What told interruptions was how the reason begins."""


def test_a_ledger_of_version_3_keeps_what_was_an_interruption(tmp_path: Path, clock: Clock) -> None:
    reasons = list(ENDED_UNTIL_VERSION_3)
    ended, doomed, alive = range(100, 100 + len(reasons)), (201, 202), 203
    with opened(tmp_path, clock, slots=range(2, 40)) as ledger:
        for contract in (*ended, *doomed, alive):
            ledger.rented(reserve(ledger, f"of {contract}", at_most=38).id, contract)
            ledger.observe(replace(RUNNING, id=contract))
        clock.now += 3_600
        for contract in (*ended, *doomed, alive):
            ledger.observe(replace(RUNNING, id=contract))
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as before:
        before.executemany(
            "UPDATE instances SET ended_at = counted_to, ended_reason = ? WHERE contract = ?",
            zip(reasons, ended, strict=True),
        )
        before.executemany(
            "UPDATE instances SET doomed = ? WHERE contract = ?",
            zip(("its container has ended", "ray down"), doomed, strict=True),
        )
        before.execute("ALTER TABLE instances DROP COLUMN ended_by")
        before.execute("PRAGMA user_version = 3")
    before.close()
    for _ in range(2):  # the second time it is of this version
        with opened(tmp_path, clock, slots=range(2, 40)) as ledger:
            kinds = {rental.contract: rental.ended_by for rental in ledger.rentals()}
            stays = ledger.stays()
        known = zip(ended, ENDED_UNTIL_VERSION_3.values(), strict=True)
        assert kinds == {**dict(known), 201: EndKind.TAKEN_AWAY, 202: EndKind.RETURNED, 203: None}
        assert sum(stay.taken_away for stay in stays) == 8


def test_what_ends_an_instance_is_told_by_its_kind_and_the_first_one_counts(
    ledger: Ledger, clock: Clock
) -> None:
    for contract, request in ((77, "a"), (78, "b"), (79, "c")):
        ledger.rented(reserve(ledger, request).id, contract)
        ledger.observe(replace(RUNNING, id=contract))
        clock.now += 600
        ledger.observe(replace(RUNNING, id=contract))
    ledger.doom(77, taken_away("in words that nobody has used before"))
    ledger.doom(77, returned("ray down"))
    ledger.ended(77, returned("ray down"))
    ledger.ended(78, returned("stopped: outbid"))
    ledger.ended(79, taken_away("gone"))
    assert [(one.ended_by, one.ended_reason) for one in ledger.rentals()] == [
        (EndKind.TAKEN_AWAY, "in words that nobody has used before"),
        (EndKind.RETURNED, "stopped: outbid"),
        (EndKind.TAKEN_AWAY, "gone"),
    ]
    assert [stay.taken_away for stay in ledger.stays()] == [True, False, True]


def test_an_instance_that_came_of_an_error_keeps_its_k_until_it_is_gone(ledger: Ledger) -> None:
    attempt = reserve(ledger, "a")
    ledger.failed(attempt.id, "bid too low", contract=77)
    (rental,) = ledger.live()
    assert (rental.doomed, ledger.k_of(77)) == ("bid too low", attempt.k)
    ledger.ended(77, returned("destroyed"))
    assert ledger.k_of(77) is None
    assert ledger.rentals()[0].ended_reason == "bid too low"


def test_bad_machines_are_avoided_for_a_while(ledger: Ledger, clock: Clock) -> None:
    ledger.avoid(9, "never loaded", seconds=100)
    assert ledger.avoided() == {9: "never loaded"}
    clock.now += 101
    assert ledger.avoided() == {}


def test_other_files_are_refused(tmp_path: Path, clock: Clock) -> None:
    opened(tmp_path, clock).close()
    with pytest.raises(LedgerError, match="'mine', not of 'yours'"):
        Ledger.open(tmp_path / "ledger.sqlite3", cluster="yours", slots=(), clock=clock)
    (tmp_path / "text").write_text("no database at all, but longer than a header" * 20, "utf-8")
    with pytest.raises(LedgerError, match="not a readable ledger"):
        Ledger.open(tmp_path / "text", cluster="mine", slots=(), clock=clock)
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE things (name TEXT)")
    other.close()
    with pytest.raises(LedgerError, match="version 0"):
        Ledger.open(tmp_path / "other", cluster="mine", slots=(), clock=clock)
    with sqlite3.connect(tmp_path / "newer") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(LedgerError, match="version 99"):
        Ledger.open(tmp_path / "newer", cluster="mine", slots=(), clock=clock)


def test_a_smaller_range_of_numbers_takes_back_those_that_are_free(
    tmp_path: Path, clock: Clock
) -> None:
    with opened(tmp_path, clock) as ledger:
        assert [reserve(ledger, name).k for name in "abc"] == [2, 3, 4]
        ledger.failed("b.1", "refused")
    with opened(tmp_path, clock, slots=range(2, 3)) as ledger:
        with pytest.raises(FullError, match="2 workers"):
            reserve(ledger, "d")
        ledger.failed("a.1", "refused")
        assert reserve(ledger, "d").k == 2


def test_what_failed_long_ago_is_forgotten_and_the_bill_is_not(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.failed(reserve(ledger, "old").id, "refused")
    ledger.avoid(9, "never loaded", seconds=100)
    ledger.rented(reserve(ledger, "a").id, 70)
    ledger.ended(70, returned("outbid"))
    clock.now += 3_600
    ledger.launch_failed("worker", "no offer")
    spent, failures = ledger.spent(), ledger.launch_failures("worker")
    ledger.prune(before=clock.now - 7_200)
    assert ledger.find_attempt("old.1") is not None
    ledger.prune(before=clock.now + 1)
    assert ledger.find_attempt("old.1") is None
    assert ledger.find_attempt("a.1") is not None
    assert (ledger.spent(), ledger.launch_failures("worker")) == (spent, failures)
    with sqlite3.connect(ledger._folder / "ledger.sqlite3") as seen:
        counts = [
            seen.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            for table in ("attempts", "instances", "bad_machines", "launches")
        ]
    seen.close()
    assert counts == [1, 1, 0, 3]


def test_charges_restore_what_a_lost_ledger_knew(ledger: Ledger) -> None:
    ledger.rented(reserve(ledger, "a").id, 77)
    charges = [
        Charge(contract=contract, dollars=1.5, parts={}, label="stellux/mine/worker/2/a.1")
        for contract in (77, 78, 78)
    ]
    known = ledger.spent()
    ledger.restore(charges)
    assert ledger.spent() == pytest.approx(known + 3.0), "77 is in the books already"
    ledger.reconcile(charges)
    ledger.restore(charges)
    assert ledger.spent() == pytest.approx(1.5 + 3.0)
