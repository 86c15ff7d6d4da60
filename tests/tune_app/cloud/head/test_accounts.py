"""Which account's key a head takes, what it says of the cap, and when it forgets the key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.tune_app.cloud.vast.fake_vast import FakeVast, offer
from tune_app.cloud.daemon.protocol import Status
from tune_app.cloud.daemon.socket_peer import refuse_to_open
from tune_app.cloud.errors import CloudError, WrongKeyError
from tune_app.cloud.head.release import refuse_left
from tune_app.cloud.head.start import cap_lines, open_market, refuse_other_account, try_account
from tune_app.cloud.renting.settings import CloudSettings, NodeType
from tune_app.cloud.secrets.key import ApiKey

STATUS = Status(
    cluster="mine",
    closed="",
    cap=5.0,
    spent=1.0,
    per_hour=0.0,
    stage="open",
    nodes=(),
    in_flight=(),
    being_destroyed={},
    ended={},
    failures={},
    avoided={},
    gpu_hours=0.0,
    looked_at=None,
    trouble="",
)


@pytest.fixture
def fake() -> Iterator[FakeVast]:
    with FakeVast([offer(1, min_bid=0.2)]) as server:
        yield server


def settings_of(fake: FakeVast) -> CloudSettings:
    return CloudSettings(
        cluster="mine",
        node_types={"worker": NodeType(image="cuda")},
        cap_dollars=5.0,
        base_url=fake.url,
        seconds_between={},
    )


def rent(fake: FakeVast) -> int:
    wanted = {"disk": 10, "price": 1, "label": "stellux/mine/worker/2/a.1"}
    fake.answer("PUT", "/api/v0/asks/1/", {}, wanted, fake.key)
    (instance,) = fake.alive()
    return instance.id


def test_workers_that_the_new_key_sees_are_its_own(fake: FakeVast) -> None:
    settings, contract = settings_of(fake), rent(fake)
    with open_market(settings.access, ApiKey(fake.key)) as client:
        refuse_other_account(settings, [contract], client, before=ApiKey("revoked"))


def test_workers_that_the_new_key_does_not_see_keep_the_old_one(fake: FakeVast) -> None:
    with FakeVast([offer(1)]) as elsewhere:
        old, contract = settings_of(fake), rent(fake)
        with open_market(settings_of(elsewhere).access, ApiKey(elsewhere.key)) as client:
            with pytest.raises(ValueError, match=rf"instances {contract} .* on the head sees them"):
                refuse_other_account(old, [contract], client, before=ApiKey(fake.key))
            with pytest.raises(ValueError, match=r"on the head cannot tell: .* the key is wrong"):
                refuse_other_account(old, [contract], client, before=ApiKey("revoked"))
            # Gone from both: the ledger has not heard of it yet.
            refuse_other_account(old, [contract + 1], client, before=ApiKey(fake.key))


def test_a_key_is_not_forgotten_while_something_is_left(fake: FakeVast) -> None:
    contract = rent(fake)
    with open_market(settings_of(fake).access, ApiKey(fake.key)) as client:
        with pytest.raises(CloudError, match=rf"instances {contract} .* ray down again"):
            refuse_left(client.instances(labelled="stellux/mine/"), client.site)
        refuse_left(client.instances(labelled="stellux/another/"), client.site)


def test_a_key_that_may_not_see_the_charges_is_refused(fake: FakeVast) -> None:
    settings = settings_of(fake)
    with open_market(settings.access, ApiKey(fake.key)) as client:
        (line,) = try_account(settings, client)
        assert line.startswith("worker: offer 1")
        fake.scopes = fake.scopes - {"billing_read"}
        with pytest.raises(WrongKeyError, match="the charges need the permission billing_read"):
            try_account(settings, client)


def test_only_a_cap_that_keeps_something_is_told() -> None:
    assert cap_lines(STATUS) == []
    (line,) = cap_lines(replace(STATUS, spent=5.01, stage="spent"))
    assert line.startswith("$5.01 of the cap of $5.00 is spent")
    assert "raise cap_dollars" in line


def test_only_root_and_the_daemons_own_user_allow_launches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 990)
    assert refuse_to_open(0) == refuse_to_open(990) == ""
    assert "only root" in refuse_to_open(1_000)
