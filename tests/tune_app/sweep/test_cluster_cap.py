"""The cap of a cluster is reached in mid-sweep: all is saved, machines end, and it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.cluster import LocalCluster
from tests.patience import PATIENCE_S
from tests.tune_app.cloud.daemon.daemons import DaemonProcess, until
from tests.tune_app.cloud.vast.fake_vast import FakeVast, offer
from tests.tune_app.real_sweeps import Sweeps, rows, wait_until
from tune_app.cloud.errors import BudgetError
from tune_app.journal.costs import account_of
from tune_app.journal.endings import EndKind
from tune_app.journal.records import Status

pytestmark = pytest.mark.slow

DOLLAR_A_SECOND = 3_600.0
SAVE_S = 60.0
"""Reserved to save all cells, on a machine that may be busy."""
GOES_ON_S = 5.0
"""How long the sweep trains on before the cap is near."""


def with_cap(daemon: DaemonProcess, dollars: float) -> None:
    """The daemon once more, as `ray up` starts it with another cap."""
    daemon.end()
    settings = json.loads(daemon.settings.read_text("utf-8"))
    daemon.settings.write_text(json.dumps(settings | {"cap_dollars": dollars}), "utf-8")
    daemon.start()


def test_the_cap_of_the_cluster_loses_no_token(
    tmp_path: Path, small_corpus: Path, cache: Path
) -> None:
    sweeps = Sweeps(tmp_path, small_corpus, cache)
    folder = sweeps.path("capped")
    longer = sweeps.space.read_text().replace("20_480", "102_400")
    sweeps.space.write_text(f"{longer}AXES = {{'glu_expansion': [2.66, 3.0]}}\n")
    offers = [offer(number, min_bid=DOLLAR_A_SECOND) for number in (1, 2)]
    with FakeVast(offers, credit=1e9) as fake, LocalCluster(workers=1, environment={}) as cluster:
        rules = {"max_dollars_per_hour": 2 * DOLLAR_A_SECOND, "bid_factor": 1.0}
        daemon = DaemonProcess(
            tmp_path,
            fake,
            cap_dollars=1e6,
            node_types={"worker": {"image": "cuda", "rules": rules}},
            reserve_hours=0.0,
            ending={"save_s": SAVE_S, "outage_s": 0.0, "restart_s": 0.0},
        ).start()
        try:
            daemon.client.create("worker", "a")
            options = ("--scheduler", "none", "--address", cluster.address)
            environment = cluster.environment | {"STELLUX_CLOUD_SOCKET": str(daemon.socket)}
            first = sweeps.start("capped", *options, environment=environment)
            begun = "SELECT 1 FROM heartbeats WHERE tokens > 0"
            wait_until(lambda: rows(folder, begun) == [(1,)], first)

            status = daemon.client.status()
            reserve = status.per_hour / 3_600 * (SAVE_S + 10.0)
            cap = status.spent + reserve + GOES_ON_S * status.per_hour / 3_600
            with_cap(daemon, cap)
            output, _ = first.communicate(timeout=PATIENCE_S)
            assert first.returncode == 75, output
            assert "the cluster is about to end its machines" in " ".join(output.split())
            until(lambda: fake.alive() == [], why=lambda: daemon.log)
            assert 0.0 < fake.billed() <= daemon.client.status().spent <= cap
            with pytest.raises(BudgetError, match="the cluster drains"):
                daemon.client.create("worker", "b")
            saved: dict[str, int] = {}
            for path in (folder / "checkpoints").glob("*/*.pt"):
                tokens, cell = int(path.name.split("-")[0]), path.parent.name
                saved[cell] = max(tokens, saved.get(cell, 0))
            with sweeps.journal("capped") as journal:
                waiting = {cell.key for cell in journal.cells() if not cell.status.ended}
                seen = {key: beat.tokens for key, beat in journal.heartbeats().items()}
                ending = journal.ending()
                attempts, observed = len(journal.attempts()), journal.observations()
            assert ending is not None and ending.kind is EndKind.DOLLARS
            assert waiting & set(saved), "something was in training"
            assert all(saved[key] >= tokens > 0 for key, tokens in seen.items())

            with_cap(daemon, 1e6)
            until(lambda: not daemon.client.drain("nobody").wanted, why=lambda: daemon.log)
            daemon.client.create("worker", "b")
            code, output = sweeps.run("capped", *options, environment=environment)
            assert code == 0, output
            with sweeps.journal("capped") as journal:
                assert {cell.status for cell in journal.cells()} == {Status.FINISHED}
                again = {one.cell: one.resumed_from for one in journal.attempts()[attempts:]}
                assert again == {key: saved.get(key, 0) for key in waiting}, "none trained twice"
                assert journal.observations()[: len(observed)] == observed
                account = account_of(journal)
            assert account is not None
            assert account.total == pytest.approx(account.billed, abs=1e-6)
        finally:
            fake.let_go()
            assert daemon.process is not None
            if daemon.process.poll() is None:
                daemon.kill()
