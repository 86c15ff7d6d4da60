"""Hetzner's own client against a real HTTP server that behaves, and misbehaves, as documented."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import socket
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.hetzner.fake_hetzner import HOURS, TAX, FakeHetzner, Fault
from tune_app.cloud.errors import (
    CloudError,
    NoAnswerError,
    OddAnswerError,
    RateLimitedError,
    RefusedError,
    UnreachableError,
    WrongKeyError,
)
from tune_app.cloud.hetzner.errors import (
    BusyError,
    GoneError,
    MaintenanceError,
    NameTakenError,
    NotAvailableError,
    NotReadyError,
    OverCapError,
    ProjectLimitError,
    ProtectedError,
)
from tune_app.cloud.hetzner.host_key import HostKeyUnknownError, fingerprint
from tune_app.cloud.hetzner.server import HetznerHead
from tune_app.cloud.hetzner.settings import HetznerSettings, hetzner_token
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.secrets.ssh_keys import KeyPair

USER = KeyPair.new().public
NAME = "stellux-tiny-head"


@pytest.fixture
def fake() -> Iterator[FakeHetzner]:
    with FakeHetzner() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> HetznerSettings:
    return HetznerSettings(
        ssh_public_key=USER,
        max_euros_per_month=8.0,
        folder=tmp_path / "keys",
        http_s=5.0,
        look_s=20.0,
    )


@pytest.fixture
def head(fake: FakeHetzner, settings: HetznerSettings) -> HetznerHead:
    return head_of(fake, settings)


def head_of(
    fake: FakeHetzner, settings: HetznerSettings, *, token: str = "", **changes: Any
) -> HetznerHead:
    clock = Clock()
    return HetznerHead(
        dataclasses.replace(settings, **changes),
        ApiKey(token or fake.token),
        endpoint=fake.url,
        clock=clock,
        sleep=clock.sleep,
    )


def test_makes_finds_and_deletes(head: HetznerHead, fake: FakeHetzner) -> None:
    assert head.find("tiny") is None
    made = head.create("tiny")
    assert (made.name, made.status) == (NAME, "running")
    assert made.price is not None
    assert made.price.per_month == pytest.approx((3.0 + 0.5) * TAX)
    assert made.price.per_hour == pytest.approx((3.0 + 0.5) / HOURS), "without tax"
    assert head.find("tiny") == made
    assert head.create("tiny") == made
    assert fake.calls["POST servers"] == 1
    assert head.delete("tiny")
    assert (fake.servers, fake.keys) == ({}, {})
    assert head.find("tiny") is None
    assert not head.delete("tiny")
    assert fake.calls["DELETE servers/#"] == 1


def test_the_order_brings_both_keys_and_no_password(head: HetznerHead, fake: FakeHetzner) -> None:
    made = head.create("tiny")
    (order,) = fake.orders
    first, _, text = order["user_data"].partition("\n")
    assert first == "#cloud-config"
    values = json.loads(text)
    assert yaml.safe_load(order["user_data"]) == values
    assert values["users"] == [{"name": "root", "ssh_authorized_keys": [USER]}]
    assert values["ssh_pwauth"] is False
    host = asyncssh.import_private_key(values["ssh_keys"]["ed25519_private"])
    public = " ".join(host.export_public_key().decode().split()[:2])
    assert made.known_hosts_line == f"{made.address} {public}\n"
    assert order["labels"] == {
        "stellux-cluster": "tiny",
        "stellux-host-key": fingerprint(public),
    }
    assert [fake.keys[number]["public_key"] for number in order["ssh_keys"]] == [USER]


def test_a_key_that_the_project_has_already_is_used_and_kept(
    head: HetznerHead, fake: FakeHetzner
) -> None:
    fake._create_key({"name": "of the user", "public_key": USER, "labels": {}})
    head.create("tiny")
    head.delete("tiny")
    assert [key["name"] for key in fake.keys.values()] == ["of the user"]


@pytest.mark.parametrize(
    "fault",
    [Fault.DONE_THEN_504, Fault.DONE_THEN_CUT_OFF, Fault.DONE_THEN_SILENCE, Fault.DONE_LATE],
)
def test_an_order_without_an_answer_is_looked_for_and_never_sent_again(
    fake: FakeHetzner, settings: HetznerSettings, fault: Fault
) -> None:
    head = head_of(fake, settings, http_s=0.3)
    fake.fail("POST servers", fault)
    made = head.create("tiny")
    assert made.status == "running"
    assert made.known_hosts_line
    assert (len(fake.orders), len(fake.servers)) == (1, 1)


@pytest.mark.parametrize("fault", [Fault.REFUSED_502, Fault.RESET, Fault.REDIRECT])
def test_an_order_that_came_to_nothing_is_given_up_not_repeated(
    head: HetznerHead, fake: FakeHetzner, fault: Fault
) -> None:
    fake.fail("POST servers", fault)
    with pytest.raises((NoAnswerError, RefusedError)) as caught:
        head.create("tiny")
    assert caught.value.may_have_happened
    assert (fake.calls["POST servers"], fake.calls["POST elsewhere"]) == (1, 0)
    assert head.create("tiny").status == "running"


def test_a_look_that_fails_after_a_lost_order_is_no_proof_of_absence(
    head: HetznerHead, fake: FakeHetzner
) -> None:
    fake.fail("POST servers", Fault.DONE_THEN_504)
    fake.fail("GET servers", None, *[Fault.REFUSED_502] * 4)
    assert head.create("tiny").status == "running"
    assert len(fake.orders) == 1


def test_the_key_made_before_a_crash_is_the_one_that_is_known_after_it(
    fake: FakeHetzner, settings: HetznerSettings
) -> None:
    fake.late = 6
    fake.fail("POST servers", Fault.DONE_LATE)
    with pytest.raises(NoAnswerError, match="try again"):
        head_of(fake, settings, look_s=0.1, poll_s=0.05).create("tiny")
    assert fake.calls["GET servers"] < 6
    made = head_of(fake, settings).create("tiny")
    public = made.known_hosts_line.split(" ", 1)[1].strip()
    assert fake.servers[made.id]["labels"]["stellux-host-key"] == fingerprint(public)
    assert len(fake.servers) == 1


def test_a_foreign_server_of_the_name_is_left_alone(head: HetznerHead, fake: FakeHetzner) -> None:
    fake.add(NAME)
    for act in (head.find, head.create, head.delete):
        with pytest.raises(NameTakenError, match="not ours"):
            act("tiny")
    assert len(fake.servers) == 1
    assert fake.calls["DELETE servers/#"] == 0


def test_a_head_made_elsewhere_is_not_trusted_but_can_be_deleted(
    head: HetznerHead, fake: FakeHetzner, settings: HetznerSettings, tmp_path: Path
) -> None:
    head.create("tiny")
    other = head_of(fake, settings, folder=tmp_path / "other")
    with pytest.raises(HostKeyUnknownError, match="copy that folder"):
        other.create("tiny")
    other.delete("tiny")
    assert not fake.servers


def test_a_head_that_was_switched_off_is_switched_on(head: HetznerHead, fake: FakeHetzner) -> None:
    made = head.create("tiny")
    fake.servers[made.id]["status"] = "off"
    found = head.find("tiny")
    assert found is not None and found.status == "off"
    assert head.create("tiny").status == "running"
    assert fake.calls["POST servers/#/actions/poweron"] == 1


def test_a_server_that_does_not_come_up_is_told_of_and_bills(
    head: HetznerHead, fake: FakeHetzner
) -> None:
    fake.fail("POST servers", Fault.NEVER_RUNS)
    with pytest.raises(NotReadyError, match=r"'initializing' after 300 s, and bills"):
        head.create("tiny")


def test_an_action_that_fails_ends_the_wait(head: HetznerHead, fake: FakeHetzner) -> None:
    fake.fail("POST servers", Fault.ACTION_FAILS)
    with pytest.raises(NotReadyError, match="action_failed"):
        head.create("tiny")


def test_over_the_cap_nothing_is_ordered(fake: FakeHetzner, settings: HetznerSettings) -> None:
    head = head_of(fake, settings, max_euros_per_month=4.0)
    with pytest.raises(OverCapError, match=r"costs 4\.1[67] euros .* limit .* is 4\.00"):
        head.create("tiny")
    assert not fake.orders
    assert not fake.keys


def test_a_list_without_prices_of_an_hour_keeps_no_server_from_being_made(
    head: HetznerHead, fake: FakeHetzner
) -> None:
    for price in fake.types[0]["prices"]:
        del price["price_hourly"]
    made = head.create("tiny")
    assert made.price is not None and made.price.per_hour is None


def test_prices_in_another_currency_or_without_figures_are_none(
    head: HetznerHead, fake: FakeHetzner
) -> None:
    fake.currency = "USD"
    with pytest.raises(OddAnswerError, match="pricing"):
        head.price()
    fake.currency = "EUR"
    for price in fake.types[0]["prices"]:
        price["price_monthly"] = {"net": "NaN", "gross": "NaN"}
    with pytest.raises(OddAnswerError, match="pricing"):
        head.create("tiny")
    assert not fake.orders


def test_a_type_that_is_not_in_the_location_is_refused_with_those_where_it_is(
    fake: FakeHetzner, settings: HetznerSettings
) -> None:
    fake.types[0]["locations"][1]["available"] = False
    with pytest.raises(NotAvailableError, match="'nbg1' now; it is in fsn1, hel1"):
        head_of(fake, settings).create("tiny")
    with pytest.raises(NotAvailableError, match="unknown server type 'cx11'"):
        head_of(fake, settings, server_type="cx11").create("tiny")
    assert not fake.orders


@pytest.mark.parametrize(
    ("fault", "kind", "remedy"),
    [
        (Fault.RATE_LIMITED, RateLimitedError, "wait some minutes"),
        (Fault.LOCKED, BusyError, "try again in a minute"),
        (Fault.MAINTENANCE, MaintenanceError, "status.hetzner.com"),
        (Fault.UNAVAILABLE, NotAvailableError, "another location"),
        (Fault.LIMIT, ProjectLimitError, "ask for a higher limit"),
        (Fault.READ_ONLY, WrongKeyError, "may read and write"),
    ],
)
def test_a_refused_order_says_what_to_do(
    head: HetznerHead, fake: FakeHetzner, fault: Fault, kind: type[CloudError], remedy: str
) -> None:
    fake.fail("POST servers", fault)
    with pytest.raises(kind, match=remedy):
        head.create("tiny")
    assert fake.calls["POST servers"] == 1
    assert not fake.servers


def test_a_wrong_token_is_told_from_no_server(fake: FakeHetzner, settings: HetznerSettings) -> None:
    head = head_of(fake, settings, token="x" * 64)
    for act in (head.find, head.create, head.delete):
        with pytest.raises(WrongKeyError, match="HCLOUD_TOKEN"):
            act("tiny")


def test_the_token_of_another_project_does_not_pass_for_a_deletion(
    head: HetznerHead, settings: HetznerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    made = head.create("tiny")
    with FakeHetzner() as elsewhere:
        assert not head_of(elsewhere, settings).delete("tiny")
    assert "if that was in another project, it bills on" in caplog.text
    assert head.find("tiny") == made


@pytest.mark.parametrize("fault", [Fault.EMPTY_LIST, Fault.NO_LIST, Fault.DONE_THEN_CUT_OFF])
def test_an_odd_list_raises_and_is_never_an_empty_one(
    head: HetznerHead, fake: FakeHetzner, fault: Fault
) -> None:
    head.create("tiny")
    fake.fail("GET servers", fault)
    with pytest.raises(OddAnswerError):
        head.find("tiny")
    assert head.find("tiny") is not None


@pytest.mark.parametrize("fault", [Fault.REFUSED_502, Fault.RATE_LIMITED, Fault.RESET])
def test_a_look_is_asked_again(head: HetznerHead, fake: FakeHetzner, fault: Fault) -> None:
    fake.fail("GET servers", fault, fault)
    assert head.find("tiny") is None
    assert fake.calls["GET servers"] == 3
    fake.fail("GET servers", fault, fault, fault)
    with pytest.raises(CloudError):
        head.find("tiny")


@pytest.mark.parametrize(
    "faults",
    [[Fault.DONE_THEN_504], [Fault.LOCKED], [Fault.RATE_LIMITED, Fault.REFUSED_502]],
)
def test_deleting_is_repeated_until_the_server_is_gone(
    head: HetznerHead, fake: FakeHetzner, faults: list[Fault]
) -> None:
    head.create("tiny")
    fake.fail("DELETE servers/#", *faults)
    head.delete("tiny")
    assert not fake.servers


def test_a_protected_server_stays_and_the_user_is_told(
    head: HetznerHead, fake: FakeHetzner
) -> None:
    head.create("tiny")
    fake.fail("DELETE servers/#", Fault.PROTECTED)
    with pytest.raises(ProtectedError, match="remove its protection"):
        head.delete("tiny")
    assert head.find("tiny") is not None


def test_one_that_is_not_gone_in_time_is_told_of(head: HetznerHead, fake: FakeHetzner) -> None:
    head.create("tiny")
    fake.looks = 1_000
    with pytest.raises(NotReadyError, match="not gone after 180 s and may bill"):
        head.delete("tiny")


def test_nobody_there_is_told_from_no_answer(settings: HetznerSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        clock = Clock()
        head = HetznerHead(
            settings,
            ApiKey("t" * 64),
            endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}/v1",
            clock=clock,
            sleep=clock.sleep,
        )
        with pytest.raises(UnreachableError, match="look at the network"):
            head.create("tiny")


def test_neither_token_nor_host_key_is_shown(
    head: HetznerHead,
    fake: FakeHetzner,
    settings: HetznerSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = [repr(head), repr(settings)]
    for fault in (Fault.ECHO, Fault.DONE_THEN_504, Fault.RESET):
        fake.fail("POST servers", fault)
        try:
            shown.append(repr(head.create("tiny")))
        except CloudError as error:
            assert error.__context__ is None or isinstance(error.__context__, CloudError)
            shown.append("".join(traceback.format_exception(error)))
    shown.append(caplog.text)
    private = json.loads(fake.orders[0]["user_data"].partition("\n")[2])["ssh_keys"]
    secrets = [fake.token, *private["ed25519_private"].splitlines()[1:-1]]
    assert not [secret for secret in secrets for text in shown if secret in text]
    assert oct((settings.folder / NAME / "first_host_key").stat().st_mode & 0o777) == "0o600"


def test_a_netrc_does_not_replace_the_token(
    head: HetznerHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert head.find("tiny") is None


def test_the_token_comes_from_the_environment() -> None:
    assert hetzner_token({"HCLOUD_TOKEN": " abc\n"}).reveal() == "abc"
    for environment in ({}, {"HCLOUD_TOKEN": ""}, {"HCLOUD_TOKEN": "two words"}):
        with pytest.raises(ValueError, match="HCLOUD_TOKEN") as caught:
            hetzner_token(environment)
        assert "words" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_euros_per_month": 0.0}, "over 0"),
        ({"max_euros_per_month": float("nan")}, "over 0"),
        ({"max_euros_per_month": float("inf")}, "finite"),
        ({"dollars_per_euro": -1.1}, r"dollars_per_euro is -1\.1; it must be over 0 and at most 2"),
        ({"dollars_per_euro": 110.0}, "write how many dollars a euro costs today"),
        ({"dollars_per_euro": float("nan")}, "dollars_per_euro is nan"),
        ({"server_type": "CX 23"}, "cx23"),
        ({"location": ""}, "nbg1"),
        ({"attempts": 0}, "at least 1"),
        ({"ssh_public_key": ""}, "not a public key"),
        ({"ssh_public_key": "/nowhere/key.pub"}, "cannot be read"),
        ({"ssh_public_key": KeyPair.new().file_text}, r"ends in \.pub"),
    ],
)
def test_impossible_settings_are_refused(
    settings: HetznerSettings, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(settings, **change)


def test_the_users_key_may_be_a_file(settings: HetznerSettings, tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    path.write_text(f"{USER} me@laptop\n")
    told = dataclasses.replace(settings, ssh_public_key=str(path))
    assert told.public_key() == settings.public_key()


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "dash-", "a" * 41, "", "a.b"])
def test_a_name_that_no_host_can_have_is_refused(head: HetznerHead, name: str) -> None:
    with pytest.raises(ValueError, match="small letters"):
        head.create(name)


@pytest.mark.parametrize("endpoint", ["http://api.hetzner.cloud/v1", "ftp://127.0.0.1"])
def test_the_token_is_not_sent_in_the_open(settings: HetznerSettings, endpoint: str) -> None:
    with pytest.raises(ValueError, match="https://"):
        HetznerHead(settings, ApiKey("t" * 64), endpoint=endpoint)


# The host key is replaced


@pytest.fixture
def ssh_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "etc" / "ssh"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def run(ssh_folder: Path, fake: FakeHetzner, tmp_path: Path) -> Callable[[str, str], str]:
    """Runs scripts as the server would, for who knows the host key that it has now."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("there is no ssh-keygen")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "systemctl").write_text("#!/bin/sh\nexit 0\n")
    (programs / "systemctl").chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "STELLUX_SSH_FOLDER": str(ssh_folder),
    }

    def at_server(script: str, known_hosts: str) -> str:
        path = ssh_folder / "ssh_host_ed25519_key"
        if not path.exists():  # cloud-init's work
            order = json.loads(fake.orders[-1]["user_data"].partition("\n")[2])
            path.write_text(order["ssh_keys"]["ed25519_private"])
        public = KeyPair.parse(path.read_text()).public
        if public not in known_hosts:
            raise OSError("Host key verification failed")
        return subprocess.run(
            ["sh", "-c", script], env=environment, check=True, capture_output=True, text=True
        ).stdout

    return at_server


def test_the_host_key_is_replaced_by_one_that_never_left_the_server(
    head: HetznerHead, ssh_folder: Path, run: Callable[[str, str], str], settings: HetznerSettings
) -> None:
    made = head.create("tiny")
    later = head.rotate_host_key("tiny", made, run)
    assert later.known_hosts_line != made.known_hosts_line
    public = KeyPair.parse((ssh_folder / "ssh_host_ed25519_key").read_text()).public
    assert later.known_hosts_line == f"{made.address} {public}\n"
    assert head.find("tiny") == later
    assert not (settings.folder / NAME / "first_host_key").exists()
    assert head.rotate_host_key("tiny", made, run) == later
    with pytest.raises(OSError, match="verification"):
        run("true", made.known_hosts_line)


@pytest.mark.parametrize("breaks_at", [1, 2, 3])
@pytest.mark.parametrize("after", [False, True])
def test_wherever_it_breaks_off_the_server_stays_known(
    head: HetznerHead, run: Callable[[str, str], str], breaks_at: int, after: bool
) -> None:
    made = head.create("tiny")
    calls = 0

    def breaking(script: str, known_hosts: str) -> str:
        nonlocal calls
        calls += 1
        if calls == breaks_at and not after:
            raise OSError("the connection broke")
        answer = run(script, known_hosts)
        if calls == breaks_at:
            raise OSError("the connection broke")
        return answer

    with pytest.raises(OSError, match="broke"):
        head.rotate_host_key("tiny", made, breaking)
    found = head.find("tiny")
    assert found is not None
    assert run("echo here", found.known_hosts_line) == "here\n"
    settled = head.rotate_host_key("tiny", found, run)
    assert settled.known_hosts_line.count("\n") == 1
    assert run("echo here", settled.known_hosts_line) == "here\n"


def test_a_new_server_has_a_new_first_key(
    head: HetznerHead, fake: FakeHetzner, run: Callable[[str, str], str]
) -> None:
    made = head.create("tiny")
    head.rotate_host_key("tiny", made, run)
    head.delete("tiny")
    again = head.create("tiny")
    with pytest.raises(GoneError):
        head.rotate_host_key("tiny", made, run)
    first, second = (order["labels"]["stellux-host-key"] for order in fake.orders)
    assert first != second
    assert again.known_hosts_line.count("\n") == 1
