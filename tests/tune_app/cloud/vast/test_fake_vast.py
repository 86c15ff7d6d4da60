"""The API on loopback does what the real one is documented to do; other tests rest on that."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.vast.fake_vast import FakeInstance, FakeVast, offer

DISK = {"disk": 73, "label": "mine", "image": "cuda"}
STORAGE = 73 * 0.15 / 720


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def fake(clock: Clock, events: list[str]) -> Iterator[FakeVast]:
    def started(instance: FakeInstance) -> dict[str, Any]:
        events.append(f"start {instance.label}")
        return {"public_ipaddr": "127.0.0.1", "ports": {"22/tcp": [{"HostPort": "2222"}]}}

    with FakeVast(
        [offer(i) for i in range(1, 40)],
        clock=clock,
        load_s=600,
        started=started,
        stopped=lambda instance: events.append(f"stop {instance.label}"),
    ) as server:
        yield server


@functools.cache
def client() -> httpx.Client:
    return httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def call(fake: FakeVast, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {fake.key}"}
    return client().request(method, fake.url + path, json=body, headers=headers)


def rent(fake: FakeVast, number: int = 1, **values: Any) -> int:
    answer = call(fake, "PUT", f"/api/v0/asks/{number}/", DISK | values)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["new_contract"])


def shown(fake: FakeVast, number: int) -> dict[str, Any]:
    values = call(fake, "GET", f"/api/v0/instances/{number}/").json()["instances"]
    assert isinstance(values, dict)
    return values


def charged(fake: FakeVast, first: float, last: float) -> list[dict[str, Any]]:
    day = json.dumps({"day": {"gte": first, "lte": last}})
    rows = call(fake, "GET", f"/api/v0/charges/?select_filters={day}").json()["results"]
    assert isinstance(rows, list)
    return rows


def test_an_instance_loads_runs_and_ends_with_its_hooks(
    fake: FakeVast, clock: Clock, events: list[str]
) -> None:
    number = rent(fake, price=0.3)
    created = shown(fake, number)
    assert {created[name] for name in ("actual_status", "ssh_host", "start_date")} == {None}
    clock.now += 10
    assert shown(fake, number)["actual_status"] == "loading"
    assert shown(fake, number)["ports"] is None
    clock.now += 600
    running = shown(fake, number)
    assert (running["actual_status"], running["public_ipaddr"]) == ("running", "127.0.0.1")
    fake.outbid(number)
    stopped = shown(fake, number)
    assert {stopped[name] for name in ("cur_state", "intended_status", "next_state")} == {"stopped"}
    call(fake, "DELETE", f"/api/v0/instances/{number}/", {})
    assert call(fake, "GET", f"/api/v0/instances/{number}/").json() == {"instances": None}
    again = call(fake, "DELETE", f"/api/v0/instances/{number}/", {})
    assert (again.status_code, again.json()["error"]) == (404, "not_found")
    assert events == ["start mine", "stop mine"]


def test_what_bills_when(fake: FakeVast, clock: Clock) -> None:
    number = rent(fake, price=0.3)
    instance = fake.instances[number]
    clock.now += 600
    fake.tick()
    assert instance.gpu == 0, "loading bills no GPU"
    clock.now += 3600
    fake.outbid(number)
    assert instance.gpu == pytest.approx(0.3)
    clock.now += 3600
    fake.tick()
    assert instance.gpu == pytest.approx(0.3)
    assert instance.disk == pytest.approx(STORAGE * (2 + 1 / 6)), "stopped bills storage"
    fake.set_state(number, "offline")
    clock.now += 3600
    fake.transfer(number, down_gb=5)
    fake.tick()
    assert instance.disk == pytest.approx(STORAGE * (2 + 1 / 6)), "offline bills nothing"
    assert instance.down == pytest.approx(0.01), "bandwidth always bills"
    midnight = clock.now // 86_400 * 86_400
    assert charged(fake, midnight + 1, clock.now) == [], "the row is dated midnight"
    (row,) = charged(fake, midnight, clock.now)
    assert row["amount"] == pytest.approx(instance.dollars)
    assert row["metadata"]["label"] == "mine"
    fake.charges_late_s = 2 * 3600
    (row,) = charged(fake, midnight, clock.now)
    assert 0 < row["amount"] < instance.dollars


def test_loading_bills_the_gpu_where_a_test_wants_it(fake: FakeVast, clock: Clock) -> None:
    fake.loading_bills = True
    number = rent(fake, price=0.3)
    clock.now += 600
    fake.tick()
    assert fake.instances[number].gpu == pytest.approx(0.05)


def test_a_fee_is_billed_and_part_of_the_price(fake: FakeVast, clock: Clock) -> None:
    fake.fee_per_hour = 0.02
    number = rent(fake, price=0.3)
    values = shown(fake, number)
    assert values["dph_total"] == pytest.approx(0.32 + STORAGE)
    assert (values["dph_base"], values["platform_fee"]) == (0.3, 0.02)
    clock.now += 600 + 3600
    fake.tick()
    assert fake.instances[number].gpu == pytest.approx(0.32)


def test_what_is_too_long_is_refused(fake: FakeVast) -> None:
    for values in ({"env": {"A": "x" * 257}}, {"onstart": "x" * 4_049}, {"label": "x" * 257}):
        answer = call(fake, "PUT", "/api/v0/asks/1/", DISK | {"price": 0.3} | values)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_args")


def test_a_key_without_a_scope_may_not(fake: FakeVast) -> None:
    fake.scopes = frozenset({"instance_read"})
    assert call(fake, "GET", "/api/v1/instances/").status_code == 200
    assert call(fake, "GET", "/api/v0/charges/?select_filters={}").status_code == 403


def test_leaving_the_price_out_rents_on_demand(fake: FakeVast) -> None:
    values = shown(fake, rent(fake))
    assert values["is_bid"] is False
    assert values["dph_total"] == pytest.approx(0.40 + STORAGE)


def test_without_credit_everything_stops(fake: FakeVast, clock: Clock) -> None:
    number = rent(fake, price=0.3)
    clock.now += 600 + 3600
    fake.tick()
    fake.credit = 0.2
    assert shown(fake, number)["cur_state"] == "stopped"


def test_the_old_list_is_gone_and_the_new_one_has_pages(fake: FakeVast) -> None:
    for number in range(1, 31):
        rent(fake, number, price=0.3)
    assert call(fake, "GET", "/api/v0/instances/").status_code == 410
    first = call(fake, "GET", "/api/v1/instances/").json()
    assert len(first["instances"]) == 25
    second = call(fake, "GET", f"/api/v1/instances/?after_token={first['next_token']}").json()
    assert (len(second["instances"]), second["next_token"]) == (5, None)


def test_too_fast_is_refused(fake: FakeVast, clock: Clock) -> None:
    fake.limits = True
    rent(fake, 1, price=0.3)
    clock.now += 4.4
    assert call(fake, "PUT", "/api/v0/asks/2/", DISK | {"price": 0.3}).status_code == 429
    clock.now += 0.2
    rent(fake, 2, price=0.3)
    assert "retry-after" not in call(fake, "GET", "/api/v1/instances/").headers
