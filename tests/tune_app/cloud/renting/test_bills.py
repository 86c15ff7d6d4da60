"""The bill has every dollar of the ledger, by machine and by what it was paid for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.renting.test_verdicts import RUNNING
from tests.tune_app.cloud.vast.fake_vast import offer
from tune_app.cloud.ledger.endings import returned
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.records import Charge
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.renting.bills import bill_of
from tune_app.cloud.renting.budget import Budget, Ending, Spent
from tune_app.cloud.renting.offers import quote
from tune_app.cloud.vast.answers import read_offer
from tune_app.dollars.bill import Bill

QUOTE = quote(read_offer(offer(1)), OfferRules())
BUDGET = Budget(
    cap=10.0,
    spending=Spent(ledger=1.0),
    per_hour=0.5,
    workers=1,
    ending=Ending(save_s=180.0, destroy_s=4.0, unable_s=700.0, save_dollars=0.01),
    reserve_hours=0.5,
)


def bill(ledger: Ledger, now: float) -> Bill:
    known = [
        (one, None if one.attempt is None else ledger.find_attempt(one.attempt))
        for one in ledger.rentals()
    ]
    return bill_of(known, BUDGET, cluster="mine", now=now, head_per_hour=0.25)


def test_every_dollar_of_the_ledger_is_on_the_bill(tmp_path: Path) -> None:
    clock = Clock()
    with Ledger.open(
        tmp_path / "ledger.sqlite3", cluster="mine", slots=range(2, 5), clock=clock
    ) as ledger:
        made = ledger.reserve("a", cluster="mine", node_type="worker", quote=QUOTE, at_most=8)
        ledger.rented(made.id, 7)
        ledger.foreign(replace(RUNNING, id=8, dollars_per_hour=0.4))
        for status in ("loading", "running", "running", "offline", "running"):
            clock.now += 1_000.0
            ledger.observe(replace(RUNNING, id=7, status=status))
            ledger.observe(replace(RUNNING, id=8, status=status))
        ledger.ended(7, returned("outbid"))
        ledger.reconcile([Charge(contract=7, dollars=3.0, parts={})])
        found = bill(ledger, clock())
        spent = ledger.spent()
    mine, foreign = found.machines
    assert (mine.worker, mine.gpu, mine.ended_by) == (2, QUOTE.offer.gpu_name, "outbid")
    assert foreign.worker is None
    assert mine.setup == pytest.approx(QUOTE.setup)
    assert min(mine.gpu_dollars, mine.storage, mine.bandwidth) > 0
    assert mine.correction == pytest.approx(3.0 - (mine.dollars - mine.correction))
    assert found.head_per_hour == 0.25
    assert found.total == pytest.approx(spent, abs=1e-9), "the head is not the ledger's"
    parts = sum(machine.dollars for machine in found.machines)
    assert parts == pytest.approx(found.total, abs=1e-6)
    assert Bill.from_values(found.to_values()) == found


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "not an object"),
        (
            {"cluster": "a", "at": 1.0, "total": float("nan"), "per_hour": 0, "cap": 1},
            "total of a bill is nan",
        ),
        (
            {
                **{"cluster": "a", "at": 1.0, "total": 0, "per_hour": 0, "cap": 1},
                "head_per_hour": "0.25",
            },
            "head_per_hour of a bill is '0.25'",
        ),
        ({"cluster": "a", "at": 1.0}, "lacks values"),
        (
            {"cluster": "a", "at": 1.0, "total": 0, "per_hour": 0, "cap": 1, "machines": 3},
            "not a list",
        ),
    ],
)
def test_a_bill_that_is_none_is_refused(values: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Bill.from_values(values)
    whole = {
        "cluster": "a",
        "at": 1.0,
        "total": 0,
        "per_hour": 0,
        "cap": 1,
        "of_a_newer_daemon": "?",
        "head": 0.0,  # of an older one
    }
    found = Bill.from_values(whole)
    assert (found.machines, found.head_per_hour) == ((), None)
