"""A running sweep's dollars: what is recorded of machines, and when all cells are to be saved."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.tune_app.dollars.test_accounting import HOUR, bill, machine
from tests.tune_app.sweeps import TOKENS, new_journal, observe
from tune_app.cluster import purse as purse_module
from tune_app.cluster.daemon import Inquiry
from tune_app.cluster.purse import Purse
from tune_app.dollars.bill import Bill
from tune_app.journal.costs import account_of
from tune_app.journal.endings import Ending, EndKind
from tune_app.journal.journal import Journal
from tune_app.journal.records import (
    COMPLETED,
    Action,
    Decision,
    Failure,
    FailureClass,
    Place,
    Status,
)
from tune_app.results.charts.costs import cost_chart
from tune_app.results.columns import of_results
from tune_app.results.markdown import markdown
from tune_app.results.report import report_page
from tune_app.results.summary import summarise
from tune_app.results.tables import cell_rows, write_csv

BEGAN = 1_790_000_000.0


class Clock:
    now = BEGAN

    def __call__(self) -> float:
        return self.now


@dataclass
class Order:
    wanted: bool = False
    number: int = 0
    reason: str = ""
    alerts: tuple[str, ...] = ()


@dataclass
class Daemon:
    """Answers with what it is given; None is no answer."""

    newest: Bill | None = None
    order: Order = field(default_factory=Order)
    told: list[tuple[str, int]] = field(default_factory=list)

    working: frozenset[int] = frozenset()

    def bill(self, working: Iterable[int] = ()) -> Bill:
        self.working = frozenset(working)
        if self.newest is None:
            raise ConnectionError("the cloud daemon does not answer")
        return self.newest

    def drain(self, driver: str) -> Order:
        return self.order

    def drained(self, driver: str, number: int) -> None:
        self.told.append((driver, number))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(purse_module, "TICK_S", 0.0)
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    with Journal.open(path, clock=clock) as opened:
        yield opened


def finish(journal: Journal, cell: str) -> None:
    journal.record(
        observe(cell, TOKENS, 2.0, whole=2.0),
        Decision(
            cell=cell, tokens=TOKENS, action=Action.FINISH, rule=COMPLETED, reason="", evidence={}
        ),
    )


def test_an_interrupted_cell_on_rented_machines_pays_for_all_its_time(
    journal: Journal, clock: Clock, tmp_path: Path
) -> None:
    """Two hours on a worker that is lost, one of them in vain, then one on another."""
    first, _, _ = (cell.key for cell in journal.cells())
    daemon = Daemon()
    inquiry = Inquiry(daemon, "sweep small")
    one = machine(7, BEGAN, BEGAN + 2 * HOUR, worker=2, gpu_dollars=0.4, storage=0.01)
    two = machine(8, BEGAN + HOUR, BEGAN + 4 * HOUR, worker=3, gpu_dollars=0.6, setup=0.05)
    with Purse(journal, inquiry=inquiry, clock=clock) as purse:
        journal.start_attempt(first)
        place = purse.place(worker=2, machine="host", gpu="")
        assert (place.machine, place.contract) == ("host", None)  # the bill is not there yet
        daemon.newest = bill(one)
        inquiry.ask()
        place = purse.place(worker=2, machine="host", gpu="")
        assert place == Place(
            worker=2, machine="7", gpu="RTX 3090", dollars_per_hour=0.2, contract=7
        )
        journal.place(first, place)
        journal.resumed(first, 0, host="host/1")
        clock.now += 2 * HOUR
        journal.fail(
            Failure(
                cell=first,
                kind=FailureClass.HOST,
                reason="its process was lost",
                traceback="",
                ended=False,
                tokens=800,
                cause="its node died",
            )
        )
        lost = replace(one, ended_at=clock(), ended_by="stopped: outbid")
        daemon.newest = bill(lost, replace(two, until=clock()))
        inquiry.ask()
        clock.now += HOUR
        journal.start_attempt(first)
        journal.place(first, purse.place(worker=3, machine="host", gpu=""))
        journal.resumed(first, 400)
        clock.now += HOUR
        finish(journal, first)
        daemon.newest = bill(lost, two)
    assert daemon.working == {7, 8}
    found = account_of(journal)
    assert found is not None
    assert found.cells == pytest.approx({first: 0.4 + 0.2})
    assert found.setup == pytest.approx(0.05 + 0.4)  # the second worker waited for two hours
    assert found.total == pytest.approx(found.billed, abs=1e-9)
    assert [one.ended_at for one in journal.attempts()] == [BEGAN + 2 * HOUR, BEGAN + 4 * HOUR]

    results = summarise(journal)
    write_csv(cell_rows(results), tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["cell"] == first)
    assert float(row["dollars"]) == pytest.approx(0.6)
    assert float(row["repeated_dollars"]) == pytest.approx(0.2)
    assert all(of_results(name).unit == "$" for name in ("dollars", "repeated_dollars"))
    for page in (markdown(results, []), report_page(results, [])):
        assert "1 interruption cost $0.20" in page
        assert "its node died" in page
        assert "worker 2" in page


def test_a_price_that_was_named_is_shown_as_one(journal: Journal, clock: Clock) -> None:
    first, second, _ = (cell.key for cell in journal.cells())
    with Purse(journal, dollars_per_hour=0.5, clock=clock) as purse:
        for key in (first, second):
            journal.start_attempt(key)
            journal.place(key, purse.place(worker=None, machine="mine", gpu=""))
        clock.now += HOUR
        finish(journal, first)
        clock.now += HOUR
        spending, reason = purse.look()
        assert reason is None
        assert spending is not None
        assert (spending.spent, spending.in_all(HOUR)) == pytest.approx((1.0, 1.5))
        clock.now += HOUR
    found = account_of(journal)
    assert found is not None
    # At its end nobody has ended the second cell: it stays until the run's last word.
    assert found.cells == pytest.approx({first: 0.25, second: 0.25 + 1.0})
    results = summarise(journal)
    assert "$0.5 an hour is a price that was named" in markdown(results, [])
    (chart,) = cost_chart(results)
    buttons = [one["label"] for one in chart.layout["updatemenus"][0]["buttons"]]
    front = chart.data[2 * buttons.index("dollars")]
    assert (front["name"], front["x"]) == ("Pareto front", pytest.approx([0.25]))


def test_a_driver_that_was_killed_is_paid_until_its_last_sign_of_life(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "killed.sqlite3"
    new_journal(path).close()
    with Journal.open(path, clock=clock) as journal:
        first = journal.cells()[0].key
        journal.begin_run(dollars_per_hour=1.0)
        journal.start_attempt(first)
        clock.now += HOUR
        journal.beat(first, 10, "host/1")
        journal.extend_run(1)
    clock.now += 9 * HOUR
    with Journal.open(path, clock=clock) as journal:
        assert journal.cell(first).status is Status.INTERRUPTED
        found = account_of(journal)
        assert found is not None
        assert (found.cells[first], found.billed) == (1.0, 1.0)


def test_cells_are_saved_at_the_limit_and_at_the_cluster_s_word(
    journal: Journal, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = Daemon(newest=replace(bill(), at=BEGAN, total=0.0, per_hour=1.0))
    inquiry = Inquiry(daemon, "sweep small")
    with Purse(journal, limit=2.0, inquiry=inquiry, clock=clock) as purse:
        clock.now += HOUR
        assert purse.look()[1] is None
        clock.now += HOUR
        spending, reason = purse.look()
        assert spending is not None
        assert spending.spent == pytest.approx(2.0)
        assert reason is not None
        assert "$2.00 of --max-dollars 2 is spent" in reason
        purse.ended(Ending(kind=EndKind.DOLLARS, reason=reason))
        assert daemon.told == []  # nobody waits for it
        daemon.order = Order(wanted=True, number=4, reason="the cap is near", alerts=("look",))
        inquiry.ask()
        reason = purse.look()[1]
        assert reason == "the cluster is about to end its machines: the cap is near"
        inquiry.ask()
        assert caplog.messages.count("look") == 1, "in the sweep's log, once"
        purse.ended(Ending(kind=EndKind.INTERRUPTION, reason="interrupted"))
        assert daemon.told == []
        purse.ended(Ending(kind=EndKind.DOLLARS, reason=reason))
    assert daemon.told == [("sweep small", 4)]
    assert journal.ending() == Ending(kind=EndKind.DOLLARS, reason=reason)
    with Purse(journal, clock=clock):
        assert journal.ending() is None, "another run goes on"


def test_the_head_is_paid_from_a_sweep_s_begin_to_its_end_and_counts_for_its_limit(
    journal: Journal, clock: Clock
) -> None:
    one = machine(7, BEGAN, BEGAN + HOUR, worker=2, gpu_dollars=0.2)
    daemon = Daemon(newest=replace(bill(one), at=BEGAN + HOUR, per_hour=0.0))
    inquiry = Inquiry(daemon, "sweep small")
    clock.now = BEGAN
    with Purse(journal, inquiry=inquiry, clock=clock, limit=0.3) as purse:
        clock.now += HOUR
        spending, reason = purse.look()
        assert spending is not None and reason is None
        assert (spending.spent, spending.head, spending.per_hour) == pytest.approx((0.2, 0.0, 0.0))
        daemon.newest = replace(daemon.newest or bill(), head_per_hour=0.05)
        inquiry.ask()
        spending, reason = purse.look()
        assert spending is not None and reason is None
        # The whole run is priced once the price is known.
        assert (spending.spent, spending.head) == pytest.approx((0.25, 0.05))
        assert (spending.per_hour, spending.in_all(HOUR)) == pytest.approx((0.05, 0.3))
        clock.now += HOUR
        reason = purse.look()[1]
        assert reason is not None and "$0.30 of --max-dollars 0.3 is spent" in reason
    clock.now += 50 * HOUR  # it bills on, for nobody's sweep
    found = account_of(journal)
    assert found is not None
    assert (found.head, found.billed) == pytest.approx((0.1, 0.3), abs=1e-9)
    assert found.total == pytest.approx(found.billed, abs=1e-6)
    results = summarise(journal)
    for page in (markdown(results, []), report_page(results, [])):
        assert "$0.10 of it is for the head while this sweep ran" in page
        assert "whose price is not named" not in page
    with Purse(journal, inquiry=Inquiry(Daemon(newest=bill(one)), "sweep small"), clock=clock):
        clock.now += HOUR
    # Each run has its own price.
    assert [run.head_dollars_per_hour for run in journal.runs()] == [0.05, None]


def test_a_head_without_a_price_is_said_to_be_left_out(journal: Journal, clock: Clock) -> None:
    daemon = Daemon(newest=bill(machine(7, BEGAN, BEGAN + HOUR, gpu_dollars=0.2)))
    with Purse(journal, inquiry=Inquiry(daemon, "sweep small"), clock=clock):
        clock.now += HOUR
    assert "without the head, whose price is not named" in markdown(summarise(journal), [])


def test_nothing_is_asked_or_shown_without_a_price(journal: Journal, clock: Clock) -> None:
    with Purse(journal, clock=clock) as purse:
        assert purse.look() == (None, None)
        assert purse.place(worker=None, machine="mine", gpu="A100") == Place(
            machine="mine", gpu="A100"
        )
    assert account_of(journal) is None
    results = summarise(journal)
    assert "dollars" not in cell_rows(results)[0]
    assert "an hour is a price" not in report_page(results, [])
