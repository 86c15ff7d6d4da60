"""Every dollar of the bills is charged to somebody, once."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tune_app.dollars.accounting import Account, Run, Stay, account
from tune_app.dollars.bill import Bill, RentedMachine
from tune_app.dollars.interruptions import repeated_dollars
from tune_app.dollars.limit import Spending, dollars, over_limit, refuse_start

HOUR = 3_600.0


def machine(contract: int, since: float, until: float, **values: float) -> RentedMachine:
    usual = {"gpu_dollars": 0.0, "setup": 0.0, "storage": 0.0, "bandwidth": 0.0}
    return RentedMachine(
        **{  # type: ignore[arg-type]
            "contract": contract,
            "worker": contract,
            "machine": str(contract),
            "gpu": "RTX 3090",
            "dollars_per_hour": 0.2,
            "since": since,
            "until": until,
            "ended_at": None,
            "ended_by": "",
            **usual,
            **values,
        }
    )


def bill(*machines: RentedMachine) -> Bill:
    total = sum(one.dollars for one in machines)
    return Bill(cluster="mine", at=0, total=total, per_hour=1, cap=9, machines=machines)


def stay(cell: str, start: float, end: float, contract: int | None, run: int = 1) -> Stay:
    return Stay(attempt=(cell, 1), start=start, end=end, contract=contract, run=run)


def parts(found: Account) -> float:
    return (
        sum(found.cells.values())
        + found.idle
        + found.setup
        + found.storage
        + found.bandwidth
        + found.head
        + found.outside
    )


def test_a_cell_pays_for_its_time_and_the_rest_is_shown_apart() -> None:
    # Rented at 0, runs from 1 h to 5 h; the cell is there from 2 h to 4 h.
    one = machine(7, 0, 5 * HOUR, gpu_dollars=0.8, setup=0.05, storage=0.02, bandwidth=0.03)
    run = Run(number=1, started_at=0, until=4.5 * HOUR, head_dollars_per_hour=0.02)
    found = account([stay("a", 2 * HOUR, 4 * HOUR, 7)], [run], [bill(one)])
    assert found.cells == pytest.approx({"a": 0.4})
    assert found.setup == pytest.approx(0.05 + 0.2)  # an hour of the GPU before the first cell
    assert found.idle == pytest.approx(0.1)  # half an hour, until the sweep ended
    assert found.storage == pytest.approx(0.018)
    assert found.bandwidth == pytest.approx(0.027)
    assert found.outside == pytest.approx(0.1 + 0.005)
    assert found.head == pytest.approx(0.09)
    assert found.spent == pytest.approx(found.billed - found.outside)
    assert parts(found) == pytest.approx(found.billed, abs=1e-9)


def test_cells_at_once_split_a_machine_by_the_time_that_they_share_it() -> None:
    run = Run(number=1, started_at=0, until=4 * HOUR, dollars_per_hour=1.0)
    stays = [stay("a", 0, 3 * HOUR, None), stay("b", HOUR, 2 * HOUR, None)]
    found = account(stays, [run], [])
    assert found.cells == pytest.approx({"a": 2.5, "b": 0.5})
    assert (found.idle, found.spent, found.billed) == pytest.approx((1.0, 4.0, 4.0))


def test_what_the_market_charged_in_the_end_is_what_cells_pay() -> None:
    one = machine(7, 0, HOUR, gpu_dollars=0.2, storage=0.2, correction=0.4)
    found = account([stay("a", 0, HOUR, 7)], [Run(number=1, started_at=0, until=HOUR)], [bill(one)])
    assert found.cells == pytest.approx({"a": 0.4})
    assert found.storage == pytest.approx(0.4)


def test_what_an_earlier_head_of_the_cluster_spent_is_not_this_sweeps() -> None:
    earlier = machine(7, 0, 0, dollars_per_hour=0.0, correction=30.0)
    run = Run(number=1, started_at=9 * HOUR, until=10 * HOUR)
    found = account([], [run], [bill(earlier)])
    assert (found.spent, found.outside, found.billed) == pytest.approx((0.0, 30.0, 30.0))


def test_another_machine_or_another_run_is_not_charged_to_a_cell() -> None:
    run = Run(number=2, started_at=0, until=HOUR, dollars_per_hour=1.0)
    stays = [stay("a", 0, HOUR, 8), stay("b", 0, HOUR, None, run=1)]
    found = account(stays, [run], [bill(machine(7, 0, HOUR, gpu_dollars=0.2))])
    assert found.cells == {}
    assert found.billed == pytest.approx(1.2)
    assert parts(found) == pytest.approx(1.2)


def test_the_head_is_paid_while_a_sweep_runs_and_an_unnamed_price_is_not_0() -> None:
    priced = Run(number=1, started_at=0, until=2 * HOUR, head_dollars_per_hour=0.01)
    later = Run(number=2, started_at=9 * HOUR, until=10 * HOUR, head_dollars_per_hour=0.03)
    found = account([], [priced, later], [bill()])
    assert (found.head, found.spent, found.billed) == pytest.approx((0.05, 0.05, 0.05))
    assert found.head_is_priced
    unnamed = replace(later, head_dollars_per_hour=None)
    assert not account([], [priced, unnamed], [bill()]).head_is_priced
    # A run on a machine of the user's has no head.
    assert account([], [replace(unnamed, dollars_per_hour=1.0)], []).head_is_priced


@pytest.mark.parametrize("seed", range(60))
def test_the_parts_of_any_ledger_add_up(seed: int) -> None:
    dice = random.Random(seed)
    at = sorted(dice.uniform(0, 30 * HOUR) for _ in range(2 * dice.randint(1, 4)))
    runs = [
        Run(
            number=number,
            started_at=start,
            until=end,
            dollars_per_hour=dice.choice([None, 0.0, dice.uniform(0, 3)]),
            head_dollars_per_hour=dice.choice([None, 0.0, dice.uniform(0, 0.1)]),
        )
        for number, (start, end) in enumerate(zip(at[::2], at[1::2], strict=True), 1)
    ]
    machines = []
    for contract in range(1, dice.randint(1, 7)):
        since = dice.uniform(0, 30 * HOUR)
        until = since + dice.choice([0.0, dice.uniform(0, 9 * HOUR)])
        price = dice.choice([0.0, dice.uniform(0.05, 0.5)])
        one = machine(
            contract,
            since,
            until,
            dollars_per_hour=price,
            gpu_dollars=price * (until - since) / HOUR * dice.choice([0.0, 0.4, 1.0]),
            setup=dice.choice([0.0, dice.uniform(0, 0.2)]),
            storage=dice.uniform(0, 0.1),
            bandwidth=dice.uniform(0, 0.1),
        )
        machines.append(
            replace(one, correction=dice.choice([0.0, dice.uniform(0, 1), -one.dollars]))
        )
    stays = []
    for _ in range(dice.randint(0, 20)):
        start = dice.uniform(-HOUR, 31 * HOUR)
        stays.append(
            Stay(
                attempt=(dice.choice("abcd"), dice.randint(1, 3)),
                start=start,
                end=start + dice.uniform(-HOUR, 5 * HOUR),
                contract=dice.choice([None, 1, 2, 3, 99]),
                run=dice.randint(0, 3),
            )
        )
    found = account(stays, runs, [bill(*machines)])
    ledger = sum(one.dollars for one in machines)
    heads = sum((one.until - one.started_at) * (one.head_dollars_per_hour or 0.0) for one in runs)
    own = sum((one.until - one.started_at) * (one.dollars_per_hour or 0.0) for one in runs)
    assert found.head == pytest.approx(heads / HOUR, abs=1e-9)
    assert found.billed == pytest.approx(ledger + (heads + own) / HOUR, abs=1e-6)
    assert parts(found) == pytest.approx(found.billed, abs=1e-6)
    assert found.total == pytest.approx(found.billed, abs=1e-6)
    assert min(found.idle, found.setup, found.storage, found.bandwidth, found.outside) > -1e-9
    assert all(charge > -1e-9 for charge in found.cells.values())
    dice.shuffle(stays)
    assert account(stays, runs, [bill(*machines)]).cells == pytest.approx(found.cells)


def test_an_interruption_costs_what_is_trained_again() -> None:
    assert repeated_dollars(2.0, resumed_from=100, reached=300, continued_from=250) == 0.5
    assert repeated_dollars(2.0, resumed_from=100, reached=100, continued_from=0) == 2.0
    assert repeated_dollars(2.0, resumed_from=100, reached=300, continued_from=0) == 2.0
    assert repeated_dollars(2.0, resumed_from=0, reached=300, continued_from=300) == 0.0


def test_cells_are_saved_before_the_limit_is_passed() -> None:
    assert over_limit(Spending(spent=5.0, per_hour=1.0)) is None
    assert over_limit(Spending(spent=0.9, per_hour=1.2, limit=1.0)) is None
    assert over_limit(Spending(spent=0.996, per_hour=1.2, limit=1.0)) == (
        "$1.00 of --max-dollars 1 is spent, at $1.20 an hour; raise --max-dollars to go on"
    )


def test_a_sweep_over_its_limit_is_refused_before_the_first_dollar() -> None:
    refuse_start(1.0, spent=0.0, forecast=0.9, how="")
    refuse_start(None, spent=3.0, forecast=9.0, how="")
    refuse_start(1.0, spent=0.5, forecast=9.0, how="")  # it has begun; the limit is held meanwhile
    with pytest.raises(ValueError, match=r"may cost \$1\.23 \(2 h\), .* 1; raise it to 1\.3"):
        refuse_start(1.0, spent=0.0, forecast=1.23, how="2 h")
    with pytest.raises(ValueError, match=r"\$1\.00 is spent already, .* is 1; raise it"):
        refuse_start(1.0, spent=1.0, forecast=None, how="")


def test_small_sums_keep_two_digits() -> None:
    assert [dollars(one) for one in (0.0, 0.0012, 0.000345678, 0.25, 1234.5)] == [
        "$0.00",
        "$0.0012",
        "$0.00035",
        "$0.25",
        "$1,234.50",
    ]
