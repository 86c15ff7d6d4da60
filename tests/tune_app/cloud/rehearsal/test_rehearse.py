"""The rehearsal's steps against the API on loopback: what it finds, and that nothing stays."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.vast.fake_transport import FakeTransport
from tests.tune_app.cloud.vast.fake_vast import FakeInstance, FakeVast, Fault, offer
from tune_app.cloud.errors import CloudError
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.rehearsal.findings import Outcome, report
from tune_app.cloud.rehearsal.image_script import CHECKS, image_script, told_by
from tune_app.cloud.rehearsal.loading_charge import Stay, loading_is_free
from tune_app.cloud.rehearsal.rehearse import Rehearsal
from tune_app.cloud.rehearsing import rehearse
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.vast.client import VastClient
from tune_app.cloud.vast.rate_limit import RateLimit

RULES = OfferRules(disk_gb=10.0, setup_gb=2.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> FakeVast:
    def told(instance: FakeInstance) -> None:
        instance.label += "+" + ",".join(f"{name}=1" for name in CHECKS)

    made = FakeVast([offer(1), offer(2)], clock=clock, load_s=60.0, limits=True, started=told)
    made._server.server_close()
    return made


def client_of(fake: FakeVast, clock: Clock) -> VastClient:
    return VastClient(
        ApiKey(fake.key),
        base_url=fake.url,
        rate_limit=RateLimit(clock=clock, sleep=clock.sleep),
        clock=clock,
        sleep=clock.sleep,
        transport=FakeTransport(fake, silence=lambda: clock.sleep(25.0)),
    )


def rehearsal_of(fake: FakeVast, clock: Clock, **values: Any) -> Rehearsal:
    usual: dict[str, Any] = {
        "image": "cuda",
        "cap_dollars": 1.0,
        "minutes": 20.0,
        "say": lambda _: None,
        "clock": clock,
        "sleep": clock.sleep,
    }
    return Rehearsal(client_of(fake, clock), RULES, **(usual | values))


def outcomes(rehearsal: Rehearsal) -> dict[str, Outcome]:
    return {one.assumption: one.outcome for one in rehearsal.findings}


def test_where_all_is_as_assumed_it_says_so_and_nothing_stays(fake: FakeVast, clock: Clock) -> None:
    rehearsal = rehearsal_of(fake, clock)
    rehearsal.run()
    assert fake.alive() == []
    assert fake.billed() < 0.05
    assert not fake.too_fast
    assert set(outcomes(rehearsal).values()) == {Outcome.AS_ASSUMED}, report(rehearsal.findings)
    assert fake.key not in report(rehearsal.findings)


@pytest.mark.parametrize(
    ("change", "assumption"),
    [
        ({"fee_per_hour": 0.05}, "dph_total is the bid and the storage"),
        ({"missing_code": "gone"}, "destroying a missing one is told from other errors"),
        ({"missing": {"id": 1}}, "a missing instance is shown as null, [] or {}"),
        (
            {"scopes": frozenset({"misc", "instance_read", "instance_write", "user_read"})},
            "the key may see the charges (billing_read)",
        ),
        ({"load_s": 1_000.0}, "it runs within 15 minutes"),
        ({"loading_bills": True}, "a loading image bills no GPU"),
        ({"loading_bills": True, "load_s": 2_000.0}, "a loading image bills no GPU"),
    ],
)
def test_what_differs_is_named(
    fake: FakeVast, clock: Clock, change: dict[str, Any], assumption: str
) -> None:
    for name, value in change.items():
        setattr(fake, name, value)
    rehearsal = rehearsal_of(fake, clock)
    rehearsal.run()
    assert fake.alive() == []
    assert outcomes(rehearsal)[assumption] is Outcome.DIFFERS, report(rehearsal.findings)


@pytest.mark.parametrize(
    ("charged", "ran", "free"),
    [
        (0.036, (350.0, 360.0), True),
        (0.072, (350.0, 360.0), False),
        (0.020, (350.0, 360.0), None),  # perhaps not all of it
        (0.036, (700.0, 710.0), None),  # loading was too short
        (0.0, (0.0, 0.0), None),
        (0.01, (0.0, 0.0), False),
    ],
)
def test_charges_tell_whether_loading_is_free(
    charged: float, ran: tuple[float, float], free: bool | None
) -> None:
    stay = Stay(existed=720.0, ran=ran)
    assert loading_is_free(charged, stay, gpu_per_hour=0.36) is free


def test_without_charges_the_report_says_what_to_look_for(fake: FakeVast, clock: Clock) -> None:
    fake.charges_late_s = 3_600.0
    rehearsal = rehearsal_of(fake, clock)
    rehearsal.run()
    (found,) = [one for one in rehearsal.findings if "loading image" in one.assumption]
    assert found.outcome is Outcome.UNKNOWN
    assert "$0.0000 by now; GPU charges up to $0.00" in found.seen


def test_a_start_that_is_refused_leaves_nothing(fake: FakeVast, clock: Clock) -> None:
    fake.env_limit = 100
    with pytest.raises(CloudError, match="invalid_args"):
        rehearsal_of(fake, clock).run()
    assert fake.alive() == []


@pytest.mark.parametrize(
    "fault", [Fault.CREATED_THEN_500, Fault.CREATED_THEN_SILENCE, Fault.HTML, Fault.APPEARS_LATE]
)
def test_an_answer_that_is_lost_leaves_nothing(fake: FakeVast, clock: Clock, fault: Fault) -> None:
    fake.late_s = 1.0
    fake.fail("create", fault)
    with pytest.raises(CloudError):
        rehearsal_of(fake, clock).run()
    clock.now += 60.0
    assert fake.alive() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_neither_ctrl_c_nor_an_error_leaves_a_machine(
    fake: FakeVast, clock: Clock, error: type[BaseException]
) -> None:
    def say(line: str) -> None:
        if "loading" in line:
            raise error

    fake.fail("destroy", Fault.REFUSED_500, Fault.REFUSED_500, Fault.REFUSED_500)
    with pytest.raises(error):
        rehearsal_of(fake, clock, say=say).run()
    assert fake.alive() == []


def test_nothing_is_rented_that_may_cost_more_than_the_cap(fake: FakeVast, clock: Clock) -> None:
    with pytest.raises(ValueError, match=r"more than the cap of \$0\.05; take fewer minutes"):
        rehearsal_of(fake, clock, cap_dollars=0.05).run()
    assert fake.calls["create"] == 0


@pytest.mark.parametrize(("values", "said"), [({"cap": 2.0}, "cap is 2"), ({"minutes": 99}, "99")])
def test_its_limits_have_limits(values: dict[str, Any], said: str) -> None:
    usual: dict[str, Any] = {"rent": True, "cap": 1.0, "minutes": 5.0, "image": "", "gpus": ()}
    with pytest.raises(ValueError, match=said):
        rehearse(lambda _: None, **(usual | values))


def test_without_rent_it_only_looks(fake: FakeVast, clock: Clock) -> None:
    said: list[str] = []
    code = rehearse(
        said.append,
        rent=False,
        cap=1.0,
        minutes=20.0,
        image="",
        gpus=(),
        client=client_of(fake, clock),
    )
    assert (code, fake.calls["create"]) == (0, 0)
    assert "--rent would rent offer 1" in said[0]


def test_the_script_tells_what_it_finds(tmp_path: Any) -> None:
    script = image_script("stellux/rehearsal/worker/2/r.1", "https://there", length=4_048)
    assert len(script) == 4_048
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\necho "$@"\n', "utf-8")
    curl.chmod(0o755)
    shell = shutil.which("sh")
    assert shell is not None
    ran = subprocess.run(
        [shell, "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "STELLUX_LONG": "x" * 256, "CONTAINER_ID": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = ran.stdout.split('"label": "')[1].split('"')[0]
    told = told_by(said)
    assert set(told) == set(CHECKS)
    assert told["env"] and told["curl"] and not told["key"]
