"""Whatever is asked at the daemon's socket, no more is rented than the settings allow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.tune_app.cloud.daemon.daemons import DaemonProcess, until
from tests.tune_app.cloud.daemon.raids import raid
from tests.tune_app.cloud.vast.fake_vast import FakeVast


@pytest.mark.parametrize(
    ("limits", "most", "refusal"),
    [
        ({"max_instances": 3}, 3, "the limit is 3; raise max_instances"),
        # By the offers' prices two fit under it, each with its half an hour and its drain.
        ({"cap_dollars": 0.6, "max_instances": 29}, 2, "raise the cap"),
        ({"max_instances": 29, "launches_per_minute": 4}, 4, "launches_per_minute is 4"),
    ],
    ids=["instances", "dollars", "haste"],
)
def test_a_raid_rents_no_more_than_the_settings_allow(
    build: Callable[..., DaemonProcess],
    fake: FakeVast,
    limits: dict[str, Any],
    most: int,
    refusal: str,
) -> None:
    daemon = build(**limits).start()
    rented: set[int] = set()
    answers: list[str] = []

    def refused() -> bool:
        """A busy machine may not come so far in one raid."""
        raided = raid(str(daemon.socket), "worker", 2.0)
        rented.update(raided["rented"])
        answers.extend(raided["answers"])
        return any(refusal in answer for answer in answers)

    until(refused, seconds=PATIENCE_S)
    assert rented <= set(fake.instances)
    until(daemon.answers)
    status = daemon.client.status()
    assert (status.trouble, status.closed, status.avoided) == ("", "", {})
    assert len(status.nodes) == most == fake.most_at_once()
    assert fake.billed() <= status.spent <= status.cap
    assert all(item.is_bid and item.price < 0.4 for item in fake.instances.values())
    assert not any(daemon.key in answer for answer in answers)
    assert "a bug" not in daemon.log


def test_a_raid_goes_on_until_the_cap_and_never_beyond(
    build: Callable[..., DaemonProcess], fake: FakeVast
) -> None:
    for item in fake.offers.values():
        item["min_bid"] = 1_000.0  # a third of a dollar a second: the cap is near
    rules = {"max_dollars_per_hour": 5_000, "setup_hours": 0, "setup_gb": 0}
    ending = {"save_s": 1, "destroy_s": 0.1, "outage_s": 0, "restart_s": 0, "checkpoint_gb": 0}
    daemon = build(
        node_types={"worker": {"image": "cuda", "rules": rules}},
        cap_dollars=10,
        max_instances=29,
        launches_per_minute=1_000,
        reserve_hours=0.0001,
        ending=ending,
    ).start()
    raided = raid(str(daemon.socket), "worker", 6.0)
    assert len(raided["rented"]) >= 3
    until(lambda: fake.alive() == [], why=lambda: daemon.log)
    calls = fake.calls["create"]
    again = raid(str(daemon.socket), "worker", 1.0)
    assert again["rented"] == []
    time.sleep(0.3)
    assert (fake.alive(), fake.calls["create"]) == ([], calls)
    assert 2.0 < fake.billed() <= 10.0
