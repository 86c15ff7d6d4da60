"""A damaged ledger: everything is ended, the spending is restored, and launches wait for `open`."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.renting.metered_market import MeteredMarket
from tune_app.cloud.daemon.alerts import Alerts
from tune_app.cloud.daemon.daemon import Daemon
from tune_app.cloud.daemon.ledgers import destroy_labelled, open_ledger
from tune_app.cloud.errors import BudgetError, ClosedError
from tune_app.cloud.ledger.damaged import is_damage, is_unreadable
from tune_app.cloud.ledger.file import ledger_path
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.renting.rented_machines import Rentals
from tune_app.cloud.renting.settings import CloudSettings, NodeType, Patience

SETTINGS = CloudSettings(
    cluster="mine",
    node_types={"w": NodeType(image="cuda", rules=OfferRules(max_dollars_per_hour=1.0))},
    cap_dollars=10.0,
    patience=Patience(poll=0.01),
)


HEAD = "h00000001"


def full(*_: object, **__: object) -> None:
    raise OSError("no space left on device")


class State:
    """A daemon's folder with two workers that were rented an hour ago."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.market = MeteredMarket(self.clock, price=0.5)
        self.path = ledger_path(folder, "mine")
        with self.open() as ledger:
            rentals = self.rentals(ledger)
            for name in "ab":
                rentals.create("w", name)
            self.clock.now += 3_600.0
            rentals.money.drains.asked()
            rentals.step()
        assert len(self.market.rented) == 2

    def open(self, damage: Exception | None = None) -> Ledger:
        ledger = open_ledger(self.folder, SETTINGS, self.market, damage, head=HEAD)
        ledger._clock = self.clock
        return ledger

    def rentals(self, ledger: Ledger) -> Rentals:
        return Rentals(SETTINGS, self.market, ledger, clock=self.clock, sleep=self.clock.sleep)

    def spoil(self) -> None:
        content = bytearray(self.path.read_bytes())
        content[4_096:] = b"\xff" * (len(content) - 4_096)
        self.path.write_bytes(content)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


def check_ended(state: State, ledger: Ledger) -> None:
    """Everything ends, and what was spent is known again."""
    rentals = state.rentals(ledger)
    assert "the ledger was damaged" in ledger.closed()
    with pytest.raises(ClosedError, match="the ledger was damaged"):
        rentals.create("w", "c")
    rentals.step()
    assert state.market.rented == {}
    state.clock.now += 1_000.0
    rentals.step()
    assert ledger.lost() == ""
    assert rentals.budget().spent == pytest.approx(state.market.meter(), abs=0.01)
    rentals.open()
    assert rentals.create("w", "d").contract in state.market.rented


def test_one_damaged_on_the_disk(state: State) -> None:
    state.spoil()
    with state.open() as ledger:
        check_ended(state, ledger)
    assert [path.name for path in state.path.parent.glob("*.damaged-*")]
    with state.open() as ledger:
        assert ledger.closed() == ""


def test_one_damaged_where_opening_it_reads_nothing(state: State) -> None:
    with closing(sqlite3.connect(state.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        find = "SELECT rootpage FROM sqlite_schema WHERE name = 'instances'"
        (page,) = connection.execute(find).fetchone()
    with state.path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with state.open() as ledger:
        check_ended(state, ledger)


def test_one_that_is_missing_beside_a_damaged_one(state: State) -> None:
    state.path.rename(state.path.with_name(f"{state.path.name}.damaged-20260101-000000"))
    with state.open() as ledger:
        check_ended(state, ledger)


def test_one_found_damaged_while_it_is_used(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    with state.open() as ledger:
        alerts = Alerts("mine", to="", memory=tmp_path / "told")
        daemon = Daemon(SETTINGS, state.rentals(ledger), ledger, alerts=alerts)

        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr(ledger, "live", fails)
        with tempfile.TemporaryDirectory(prefix="stellux-", dir="/tmp") as short:
            damage = daemon.run(Path(short) / "s", None)  # a socket's path has 107 bytes at most
    assert damage is error
    with state.open(damage) as ledger:
        check_ended(state, ledger)


def test_one_that_cannot_be_read_for_four_steps(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
    fails = iter([error] * 3 + [None] + [error] * 4)
    with state.open() as ledger:
        alerts = Alerts("mine", to="", memory=tmp_path / "told")
        daemon = Daemon(SETTINGS, state.rentals(ledger), ledger, alerts=alerts)

        def step() -> None:
            if (failure := next(fails)) is not None:
                raise failure

        monkeypatch.setattr(daemon._rentals, "step", step)
        for _ in range(7):
            daemon.step()
            assert daemon._damage is None, "it may pass"
        daemon.step()
        assert daemon._damage is error
    with state.open(error) as ledger:
        check_ended(state, ledger)


def test_while_charges_are_silent_nothing_is_rented(state: State) -> None:
    state.spoil()
    state.market.silent_until = float("inf")
    with state.open() as ledger:
        rentals = state.rentals(ledger)
        rentals.step()
        assert state.market.rented == {}
        rentals.open()
        with pytest.raises(BudgetError, match="what was spent before is not known"):
            rentals.create("w", "c")


def test_where_no_ledger_can_be_written_what_bears_the_label_is_destroyed(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = next(iter(state.market.rented))
    state.market.relabel(contract, "stellux/other/worker/2/a.1")
    state.spoil()
    monkeypatch.setattr("tune_app.cloud.daemon.ledgers.lay_aside", full)
    with pytest.raises(OSError, match="no space"):
        state.open()
    assert list(state.market.rented) == [contract], "another cluster's is left alone"
    state.market.down_until = float("inf")
    assert destroy_labelled(state.market, "other", HEAD, pause_s=0.0, tries=2) == []


def test_where_no_ledger_can_be_written_another_heads_workers_stay(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two heads of one name: each ends what bears its own id, and what bears none."""
    own, others = state.market.rented
    state.market.relabel(own, f"stellux/mine/w/2/a.1/{HEAD}")
    state.market.relabel(others, "stellux/mine/w/3/b.1/h00000002")
    state.spoil()
    monkeypatch.setattr("tune_app.cloud.daemon.ledgers.lay_aside", full)
    with pytest.raises(OSError, match="no space"):
        state.open()
    assert list(state.market.rented) == [others]


def test_full_and_locked_are_no_damage(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x") as one, pytest.raises(sqlite3.OperationalError) as busy:
        one.execute("BEGIN EXCLUSIVE")
        sqlite3.connect(tmp_path / "x", timeout=0).execute("BEGIN IMMEDIATE")
    assert not is_damage(busy.value)
    assert not is_unreadable(busy.value)
    (tmp_path / "y").write_bytes(b"no database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError) as odd:
        sqlite3.connect(tmp_path / "y").execute("SELECT * FROM x")
    assert is_damage(odd.value)
