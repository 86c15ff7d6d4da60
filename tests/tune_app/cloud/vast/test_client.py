"""The client against a real HTTP server that behaves, and misbehaves, as the API is documented."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Iterator

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.vast.fake_vast import FakeVast, Fault, offer
from tune_app.cloud.errors import (
    CloudError,
    CreditError,
    MissingScopeError,
    NoAnswerError,
    NoSuchOfferError,
    OddAnswerError,
    PriceError,
    RateLimitedError,
    RefusedError,
    SearchQuotaError,
    SpendRateError,
    UnreachableError,
    WrongKeyError,
)
from tune_app.cloud.market.instance_request import InstanceRequest, WorkerStart
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.vast.client import VastClient
from tune_app.cloud.vast.rate_limit import RateLimit

GPUS = {"gpu_name": {"in": ["RTX 4090"]}}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> Iterator[FakeVast]:
    with FakeVast([offer(i) for i in range(1, 61)], clock=clock, limits=True) as server:
        yield server


@pytest.fixture
def client(fake: FakeVast, clock: Clock) -> Iterator[VastClient]:
    made = client_of(fake, clock)
    yield made
    made.close()


def client_of(
    fake: FakeVast, clock: Clock, *, key: str | None = None, timeout_s: float = 5.0
) -> VastClient:
    return VastClient(
        ApiKey(key or fake.key),
        base_url=fake.url,
        rate_limit=RateLimit(clock=clock, sleep=clock.sleep),
        timeout_s=timeout_s,
        clock=clock,
        sleep=clock.sleep,
    )


def order(number: int = 1, *, bid: float = 0.25, label: str = "mine") -> InstanceRequest:
    return InstanceRequest(offer_id=number, bid=bid, label=label, image="cuda", disk_gb=20)


def test_rents_lists_shows_and_destroys(client: VastClient, fake: FakeVast) -> None:
    contract = client.create(order(3, bid=0.25, label="one"))
    (listed,) = client.instances()
    assert client.instance(contract) == listed
    assert (listed.id, listed.label, listed.is_bid) == (contract, "one", True)
    assert listed.dollars_per_hour == pytest.approx(0.25 + 20 * 0.15 / 720)
    assert listed.storage_per_hour == pytest.approx(20 * 0.15 / 720)
    assert listed.gpu_dollars_per_hour == 0.25
    client.destroy(contract)
    client.destroy(contract)
    assert client.instances() == []
    assert client.instance(contract) is None
    assert [body["price"] for name, body in fake.bodies if name == "create"] == [0.25]


def test_every_page_of_a_list_is_read(client: VastClient, fake: FakeVast) -> None:
    for number in range(1, 56):
        client.create(order(number))
    assert len(client.instances()) == 55
    assert fake.calls["list"] == 3


@pytest.mark.parametrize(
    "fault",
    [Fault.HTML, Fault.CUT_OFF, Fault.NO_LIST, Fault.ODD_ITEM, Fault.UNSUCCESSFUL, Fault.CIRCLE],
)
def test_an_odd_list_raises_and_is_never_an_empty_one(
    client: VastClient, fake: FakeVast, fault: Fault
) -> None:
    client.create(order())
    fake.fail("list", *([fault] * (1 + (fault is Fault.CIRCLE))))
    with pytest.raises((OddAnswerError, RefusedError)):
        client.instances()
    assert len(client.instances()) == 1


def test_a_list_shorter_than_it_announces_is_no_list(client: VastClient, fake: FakeVast) -> None:
    client.create(order())
    torn = {"success": True, "instances": [], "total_instances": 1, "next_token": None}
    fake.say("list", 200, torn)
    with pytest.raises(OddAnswerError, match="0 of the 1 that it announces"):
        client.instances()


def test_instances_of_others_need_only_a_number(client: VastClient, fake: FakeVast) -> None:
    mine = client.create(order(1, label="mine/1"))
    other = client.create(order(2, label="a volume"))
    fake.instances[other].spoilt = dict.fromkeys(("machine_id", "dph_total", "is_bid"), "odd")
    assert [item.id for item in client.instances(labelled="mine/")] == [mine]
    (odd,) = [item for item in client.instances() if item.id == other]
    assert (odd.machine_id, odd.dollars_per_hour, odd.is_bid) == (0, None, None)
    fake.instances[other].spoilt = {"id": None}
    with pytest.raises(OddAnswerError, match="id = 'None'"):
        client.instances(labelled="mine/")


def test_an_instance_that_is_known_is_listed_whatever_its_label(
    client: VastClient, fake: FakeVast
) -> None:
    mine = client.create(order(1, label="mine/1"))
    fake.instances[mine].label = "changed in the console"
    assert client.instances(labelled="mine/") == []
    (listed,) = client.instances(labelled="mine/", known={mine})
    assert (listed.id, listed.label) == (mine, "changed in the console")


@pytest.mark.parametrize("nothing", [None, [], {}])
@pytest.mark.parametrize("code", ["not_found", "no_such_instance"])
def test_an_instance_that_is_missing_is_gone_in_every_documented_form(
    client: VastClient, fake: FakeVast, nothing: object, code: str
) -> None:
    fake.missing, fake.missing_code = nothing, code
    assert client.instance(77) is None
    client.destroy(77)


@pytest.mark.parametrize("shown", [[1, 2], "gone", {"label": "no number"}, {"id": 78}])
def test_an_answer_about_something_else_does_not_mean_that_it_is_gone(
    client: VastClient, fake: FakeVast, shown: object
) -> None:
    fake.say("show", 200, {"instances": shown})
    with pytest.raises(OddAnswerError):
        client.instance(77)


def test_a_404_that_is_not_the_api_s_own_does_not_mean_that_it_is_gone(
    client: VastClient, fake: FakeVast
) -> None:
    fake.say("destroy", 404, b"<html>Not Found</html>")
    with pytest.raises(RefusedError):
        client.destroy(77)


@pytest.mark.parametrize("missing", [1, 2])
def test_a_list_that_announces_more_than_it_has_raises(
    client: VastClient, fake: FakeVast, missing: int
) -> None:
    client.create(order())
    fake.say("list", 200, {"success": True, "instances": [], "total_instances": missing})
    with pytest.raises(OddAnswerError, match=f"has 0 of the {missing}"):
        client.instances()


def test_a_list_is_asked_again_after_a_failure_of_the_server(
    client: VastClient, fake: FakeVast, clock: Clock
) -> None:
    fake.fail("list", Fault.REFUSED_500)
    assert client.instances() == []
    assert fake.calls["list"] == 2
    fake.fail("list", Fault.REFUSED_500, Fault.REFUSED_500)
    with pytest.raises(NoAnswerError, match="HTTP 502"):
        client.instances()


@pytest.mark.parametrize("fault", [Fault.CREATED_THEN_500, Fault.REFUSED_500])
def test_creating_is_sent_once_whatever_comes_back(
    client: VastClient, fake: FakeVast, fault: Fault
) -> None:
    fake.fail("create", fault)
    with pytest.raises(NoAnswerError) as caught:
        client.create(order())
    assert caught.value.may_have_happened
    assert fake.calls["create"] == 1
    assert len(fake.alive()) == (fault is Fault.CREATED_THEN_500)


def test_silence_after_creating_ends_with_the_time_out(fake: FakeVast, clock: Clock) -> None:
    client = client_of(fake, clock, timeout_s=0.2)
    fake.fail("create", Fault.CREATED_THEN_SILENCE)
    with pytest.raises(NoAnswerError, match="no complete answer"):
        client.create(order())
    fake.let_go()
    assert fake.calls["create"] == 1
    assert len(fake.alive()) == 1


def test_a_bid_that_is_too_low_names_the_instance_that_it_left_behind(
    client: VastClient, fake: FakeVast
) -> None:
    with pytest.raises(PriceError) as caught:
        client.create(order(bid=0.01))
    (left,) = fake.alive()
    assert caught.value.contract == left.id
    assert client.instances()[0].is_stopped
    assert not caught.value.may_have_happened


def test_errors_have_their_classes(client: VastClient, fake: FakeVast) -> None:
    client.create(order(1))
    with pytest.raises(NoSuchOfferError):
        client.create(order(1))
    fake.fail("create", Fault.UNAVAILABLE)
    with pytest.raises(NoSuchOfferError):
        client.create(order(2))
    fake.fail("create", Fault.UNSUCCESSFUL)
    with pytest.raises(RefusedError, match="server_busy") as caught:
        client.create(order(2))
    assert caught.value.may_have_happened, "HTTP 200 with success: false says little"
    fake.credit = 0.0
    with pytest.raises(CreditError, match="add credit"):
        client.create(order(3))
    assert client.credit() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(
    ("status", "answer", "kind", "may_have_happened"),
    [
        (400, {"error": "spend_rate_limit", "msg": "too much"}, SpendRateError, False),
        (200, {"success": False, "error": "spend_rate_limit"}, SpendRateError, False),
        (400, {"success": False, "error": "", "msg": "error no_such_ask"}, NoSuchOfferError, False),
        (404, {"error": "auth_error", "msg": "Invalid user key"}, WrongKeyError, False),
        (401, {"msg": "who?"}, MissingScopeError, False),
        (403, b"<html>Forbidden</html>", MissingScopeError, False),
        (429, {"msg": "API requests too frequent"}, RateLimitedError, False),
        (404, {"msg": "what?"}, RefusedError, True),
        (500, {"error": "no_such_ask"}, NoAnswerError, True),
        (503, b"", NoAnswerError, True),
        (200, b"", OddAnswerError, True),
        (200, b"[1]", OddAnswerError, True),
        (200, {}, OddAnswerError, True),
        (200, {"success": True}, OddAnswerError, True),
        (200, {"success": True, "new_contract": "7"}, OddAnswerError, True),
        (302, b"elsewhere", OddAnswerError, True),
    ],
)
def test_every_answer_says_whether_something_may_be_rented(
    *,
    client: VastClient,
    fake: FakeVast,
    status: int,
    answer: dict[str, object] | bytes,
    kind: type[CloudError],
    may_have_happened: bool,
) -> None:
    fake.say("create", status, answer)
    with pytest.raises(kind) as caught:
        client.create(order())
    assert type(caught.value) is kind
    assert caught.value.may_have_happened is may_have_happened
    assert fake.calls["create"] == 1


def test_an_answer_that_repeats_the_key_is_not_repeated(client: VastClient, fake: FakeVast) -> None:
    fake.say("list", 400, {"error": "bad", "msg": f"the key {fake.key} has no right to this"})
    with pytest.raises(RefusedError) as caught:
        client.instances()
    assert fake.key not in str(caught.value)
    assert "the key … has no right" in str(caught.value)


def test_no_connection_means_that_nothing_was_done(clock: Clock) -> None:
    with FakeVast() as gone:
        pass
    client = client_of(gone, clock)
    with pytest.raises(UnreachableError, match="base URL") as caught:
        client.create(order())
    assert not caught.value.may_have_happened


def test_a_wrong_key_is_told_from_a_missing_instance(fake: FakeVast, clock: Clock) -> None:
    client = client_of(fake, clock, key="not-the-key")
    for call in (client.instances, client.credit, lambda: client.instance(1)):
        with pytest.raises(WrongKeyError, match="make a new one"):
            call()


def test_calls_keep_the_limits_of_each_endpoint(
    client: VastClient, fake: FakeVast, clock: Clock
) -> None:
    start = clock.now
    for number in range(1, 4):
        client.create(order(number))
    assert 9.0 <= clock.now - start < 9.5
    for instance in client.instances():
        client.destroy(instance.id)
    assert 15.0 <= clock.now - start < 16.0
    assert fake.calls["destroy"] == 3, "none was refused by the server's own limits"


def test_a_turn_that_comes_too_late_is_not_taken(client: VastClient, fake: FakeVast) -> None:
    client.create(order(1))
    with pytest.raises(RateLimitedError, match="away from its turn"):
        client.create(order(2), turn_within_s=2.0)
    assert fake.calls["create"] == 1


def test_a_rate_limit_that_others_used_up_is_an_error_of_its_own(
    fake: FakeVast, clock: Clock, client: VastClient
) -> None:
    other = client_of(fake, clock)
    other.create(order(1))
    with pytest.raises(RateLimitedError):
        client.create(order(2))
    assert len(fake.alive()) == 1


def test_the_same_search_is_asked_once_a_minute(
    client: VastClient, fake: FakeVast, clock: Clock
) -> None:
    first = client.search(GPUS, disk_gb=20)
    assert len(first) == 60
    clock.now += 59
    assert client.search(GPUS, disk_gb=20) == first
    assert fake.calls["search"] == 1
    client.search(GPUS, disk_gb=30)
    clock.now += 2
    client.search(GPUS, disk_gb=20)
    assert fake.calls["search"] == 3


def test_a_used_up_quota_is_not_asked_again_before_midnight(
    client: VastClient, fake: FakeVast, clock: Clock
) -> None:
    fake.searches_a_day = 1
    client.search(GPUS, disk_gb=20)
    for _ in range(3):
        clock.now += 120
        with pytest.raises(SearchQuotaError, match="midnight"):
            client.search(GPUS, disk_gb=20)
    assert fake.calls["search"] == 2
    clock.now += 13 * 3600
    assert client.search(GPUS, disk_gb=20)


def test_odd_offers_are_left_out_and_only_odd_ones_raise(
    client: VastClient, fake: FakeVast, caplog: pytest.LogCaptureFixture
) -> None:
    fake.offers[1]["min_bid"] = None
    assert len(client.search(GPUS, disk_gb=20)) == 59
    assert "min_bid" in caplog.text
    for item in fake.offers.values():
        item["min_bid"] = "cheap"
    with pytest.raises(OddAnswerError, match="cheap"):
        client.search(GPUS, disk_gb=21)


def test_charges_by_contract(client: VastClient, fake: FakeVast, clock: Clock) -> None:
    contract = client.create(order(1, bid=0.25))
    clock.now += 7_200
    fake.transfer(contract, down_gb=10)
    # From an hour ago, though the row of today is dated midnight.
    (charge,) = client.charges(clock.now - 3_600, clock.now)
    assert charge.contract == contract
    assert charge.parts["gpu"] == pytest.approx(0.5, rel=1e-3)
    assert charge.parts["bw_down"] == pytest.approx(0.02)
    assert charge.dollars == pytest.approx(sum(charge.parts.values()))


def test_charges_of_several_days_and_pages_are_all_read(
    client: VastClient, fake: FakeVast, clock: Clock
) -> None:
    since = clock.now
    for number in range(1, 61):
        client.create(order(number))
    clock.now += 9 * 86_400
    charges = client.charges(since, clock.now)
    assert len(charges) == 600
    assert sum(charge.dollars for charge in charges) == pytest.approx(
        sum(item.dollars for item in fake.instances.values())
    )
    fake.say("charges", 200, {"results": [], "total": 2, "next_token": None})
    with pytest.raises(OddAnswerError, match="has 0 of the 2"):
        client.charges(since, clock.now)


def test_a_key_that_may_not_see_the_bill_says_so(client: VastClient, fake: FakeVast) -> None:
    fake.scopes = fake.scopes - {"billing_read"}
    with pytest.raises(MissingScopeError, match="lacks a permission"):
        client.charges(0, 1)
    assert client.instances() == []


def test_the_api_s_own_time_is_passed_on(fake: FakeVast, clock: Clock) -> None:
    told: list[float] = []
    client = VastClient(
        ApiKey(fake.key), base_url=fake.url, clock=clock, sleep=clock.sleep, heard=told.append
    )
    client.instances()
    client.close()
    assert told == [int(clock.now)]


def test_the_key_is_nowhere_to_be_read(
    fake: FakeVast, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "0123456789abcdef" * 4
    client = client_of(fake, clock, key=key)
    fake.fail("create", Fault.REFUSED_500)
    texts = [repr(client), repr(ApiKey(key)), repr(vars(client)["_http"].headers)]
    for call in (client.instances, lambda: client.create(order())):
        try:
            call()
        except CloudError as error:
            texts += traceback.format_exception(error)
    assert len(texts) > 4
    assert key not in caplog.text + "".join(texts)
    with pytest.raises(TypeError):
        pickle.dumps(ApiKey(key))
    with pytest.raises(ValueError, match="copy it again") as caught:
        ApiKey(f"{key} {key}")
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["http://console.vast.ai", "ftp://127.0.0.1", "console.vast.ai"])
def test_the_key_goes_nowhere_in_clear(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        VastClient(ApiKey("key"), base_url=url)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"bid": 0.0}, "over 0"),
        ({"label": "x" * 257}, "257"),
        ({"disk_gb": 4}, "8 GB or more"),
        ({"start": WorkerStart(onstart="x" * 5_000)}, "5,000"),
    ],
)
def test_what_the_api_would_refuse_is_refused_before(values: dict[str, object], said: str) -> None:
    usual = {"offer_id": 1, "bid": 0.2, "label": "mine", "image": "cuda", "disk_gb": 20}
    with pytest.raises(ValueError, match=said):
        InstanceRequest(**(usual | values))  # type: ignore[arg-type]
