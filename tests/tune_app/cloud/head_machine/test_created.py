"""A head at Hetzner from `ray up` to `ray down`: a played API, a real SSH server, Ray's flow."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml
from ray.autoscaler._private.commands import _bootstrap_config, get_or_create_head_node
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    TAG_RAY_NODE_KIND,
)

from tests.tune_app.cloud.autoscaling.ray_autoscaler import HEAD, yaml_config
from tests.tune_app.cloud.daemon.daemons import ROOT, DaemonProcess
from tests.tune_app.cloud.hetzner.fake_hetzner import HOURS, FakeHetzner, Fault
from tests.tune_app.cloud.loopback_head import LoopbackHead
from tests.tune_app.cloud.vast.fake_vast import FakeVast
from tune_app.cloud import provider as provider_module
from tune_app.cloud.autoscaling import teardown
from tune_app.cloud.cluster_yaml.head_copy import head_config, with_machine
from tune_app.cloud.cluster_yaml.records import HeadMachine, HeadToCreate
from tune_app.cloud.cluster_yaml.settings import check_config, read_settings
from tune_app.cloud.commands import app
from tune_app.cloud.errors import CloudError
from tune_app.cloud.head.remote import shell_of
from tune_app.cloud.head.shell import HeadUnreachableError
from tune_app.cloud.head_machine import created as created_head
from tune_app.cloud.head_machine import fetch_results as fetch_module
from tune_app.cloud.head_machine.created import CreatedHead
from tune_app.cloud.head_machine.fetch_results import FetchError
from tune_app.cloud.hetzner.errors import OverCapError
from tune_app.cloud.provider import StelluxNodeProvider
from tune_app.cloud.secrets.ssh_keys import key_file

pytestmark = pytest.mark.services

HEADS = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD}
WORKERS = {TAG_RAY_NODE_KIND: NODE_KIND_WORKER}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHetzner]:
    with FakeHetzner() as server:
        monkeypatch.setenv("HCLOUD_TOKEN", server.token)
        monkeypatch.setenv("HCLOUD_ENDPOINT", server.url)
        monkeypatch.setenv("VAST_API_KEY", "the-other-account-s")
        yield server


@pytest.fixture
def server(
    fake: FakeHetzner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LoopbackHead]:
    """What answers by SSH at the address of the server that will be ordered."""
    first = key_file(tmp_path / "keys" / "stellux-stellux-head" / "first_host_key")
    # An entry for the user's key, then the server.
    made = LoopbackHead(tmp_path / "server", f"192.0.2.{fake._next + 2}", host=first)
    (made.etc / "user_key.pub").write_text(f"{made.user.public}\n", "utf-8")
    with made:
        monkeypatch.setenv("PATH", made.path)
        monkeypatch.setattr(fetch_module, "RAY_HOME", tmp_path / "home")
        monkeypatch.chdir(tmp_path)
        yield made


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A cluster's YAML as a user without a machine writes it."""
    made = yaml_config(looks_apart_s=0.0, overlay={"store_root": str(tmp_path / "srv")})
    made["auth"]["ssh_user"] = "root"
    made["provider"]["head"] = {
        "create": "hetzner",
        "hetzner": {
            "ssh_public_key": str(tmp_path / "server" / "etc" / "user_key.pub"),
            "max_euros_per_month": 8.0,
            "folder": str(tmp_path / "keys"),
            "poll_s": 0.05,
            "start_s": 10.0,
        },
    }
    return made


def head_of(config: dict[str, Any]) -> CreatedHead:
    settings = read_settings(config["provider"], "stellux")
    assert isinstance(settings.head, HeadToCreate)
    return CreatedHead(
        settings.head, "stellux", store_root=settings.overlay.store_root, market=settings.market
    )


def results(tmp_path: Path) -> None:
    for path in (tmp_path / "home" / "runs" / "journal", tmp_path / "srv" / "store" / "1.pt"):
        path.parent.mkdir(parents=True)
        path.write_text("what was found out", "utf-8")


def test_is_made_once_and_recognised_by_a_key_of_its_own(
    server: LoopbackHead, fake: FakeHetzner, config: dict[str, Any]
) -> None:
    said: list[str] = []
    config["provider"]["head"]["hetzner"]["dollars_per_euro"] = 1.2
    head = head_of(config)
    assert head.find() is None
    machine = head.make(said.append)
    assert machine.address == server.address
    assert machine.dollars_per_hour == pytest.approx(1.2 * (3.0 + 0.5) / HOURS)
    rented = check_config(with_machine(config, machine)).rented
    assert rented is not None and rented.head_dollars_per_hour == machine.dollars_per_hour
    assert said[0] == (
        "ordering a server cx23 in nbg1 at Hetzner: 4.17 euros a month until `ray down` has "
        "deleted it"
    )
    # Who had the first host key, which Hetzner keeps, is nobody any more.
    with pytest.raises(HeadUnreachableError, match="its host key"):
        server.shell.run(["true"])
    assert "in" in shell_of(machine).run(["echo", "in"])
    # Another process of the user's, later.
    again = head_of(config).find()
    assert again == machine
    assert head_of(config).make(said.append) == machine
    assert fake.calls["POST servers"] == 1


def test_a_start_that_broke_off_goes_on(
    server: LoopbackHead, fake: FakeHetzner, config: dict[str, Any]
) -> None:
    impatient = copy.deepcopy(config)
    impatient["provider"]["head"]["hetzner"]["start_s"] = 0.5
    server.stop()
    said: list[str] = []
    with pytest.raises(HeadUnreachableError, match="no SSH server answers there"):
        head_of(impatient).make(said.append)
    assert any(line.startswith("not yet: the head") for line in said)
    server.begin()
    machine = head_of(config).make(said.append)
    assert "in" in shell_of(machine).run(["echo", "in"])
    assert fake.calls["POST servers"] == 1


def test_costs_no_more_than_it_may(fake: FakeHetzner, config: dict[str, Any]) -> None:
    config["provider"]["head"]["hetzner"] |= {"max_euros_per_month": 4.0, "ssh_public_key": KEY}
    with pytest.raises(OverCapError, match=r"4\.17 euros a month; the limit .* is 4\.00"):
        head_of(config).make(lambda _: None)
    assert fake.calls["POST servers"] == 0


def test_without_a_key_to_rent_workers_no_server_is_ordered(
    fake: FakeHetzner, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config["provider"]["head"]["hetzner"]["ssh_public_key"] = KEY
    monkeypatch.delenv("VAST_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"no Vast\.ai key"):
        head_of(config).make(lambda _: None)
    assert fake.calls["POST servers"] == 0


def test_is_deleted_when_its_results_are_here(
    server: LoopbackHead, fake: FakeHetzner, config: dict[str, Any], tmp_path: Path
) -> None:
    results(tmp_path)
    head = head_of(config)
    head.make(lambda _: None)
    said: list[str] = []
    head.end(said.append)
    assert fake.servers == {}
    here = tmp_path / "stellux-stellux-results"
    assert (here / "runs" / "journal").read_text("utf-8") == "what was found out"
    assert (here / "store" / "1.pt").read_text("utf-8") == "what was found out"
    assert f"2 files, 0.0 MiB, are in {here}" in said
    assert head.find() is None
    head.check_absence()  # nothing is missing


def test_is_kept_when_its_results_are_not_here(
    server: LoopbackHead,
    fake: FakeHetzner,
    config: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results(tmp_path)
    head = head_of(config)
    head.make(lambda _: None)
    server.program_there("rsync", "echo 'rsync: the disk is ill' >&2; exit 23")
    with pytest.raises(
        FetchError,
        match=r"the disk is ill.*\. Nothing was deleted, and the head 192\.0\.2\.\d+ bills on: "
        r"run `ray down` again.*STELLUX_DISCARD=1 ray down cluster\.yaml",
    ):
        head.end(lambda _: None)
    assert len(fake.servers) == 1
    assert fake.calls["DELETE servers/#"] == 0
    monkeypatch.setenv("STELLUX_DISCARD", "1")
    head.end(lambda _: None)
    assert fake.servers == {}


def test_one_that_is_gone_without_us_is_missed(
    server: LoopbackHead, fake: FakeHetzner, config: dict[str, Any]
) -> None:
    head_of(config).check_absence()  # none was ever made
    head_of(config).make(lambda _: None)
    fake.servers.clear()
    later = head_of(config)
    assert later.find() is None
    with pytest.raises(CloudError, match=r"not in the project of this HCLOUD_TOKEN.*bill there"):
        later.check_absence()


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGeVqoCRQ8S1CXiERJ1AFtpVNjI6pTykyMJx8OfpSnSF"


# Ray


class Launcher:
    """Ray's launcher on the user's machine; what it runs on the head is only noted."""

    def __init__(self, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[str] = []
        self.brought_up: list[tuple[dict[str, Any], Any]] = []
        monkeypatch.setattr(
            provider_module,
            "bring_up",
            lambda config, shell, say: self.brought_up.append((config, shell)),
        )
        self.config = _bootstrap_config(copy.deepcopy(config), no_config_cache=True)

    def provider(self) -> StelluxNodeProvider:
        """Of another process of the user's each time."""
        return StelluxNodeProvider(self.config["provider"], "stellux")

    def up(self) -> StelluxNodeProvider:
        runner = ModuleType("runner")

        def run(command: list[str], *_: Any, **__: Any) -> bytes:
            self.ran.append(" ".join(command))
            return b""

        for name in ("check_call", "check_output", "call"):
            setattr(runner, name, run)
        provider = self.provider()
        get_or_create_head_node(
            self.config,
            "cluster.yaml",
            no_restart=False,
            restart_only=False,
            yes=True,
            override_cluster_name=None,
            _provider=provider,
            _runner=runner,
        )
        return provider


def test_ray_up_makes_it_and_brings_it_up_by_its_address(
    server: LoopbackHead,
    fake: FakeHetzner,
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launcher = Launcher(config, monkeypatch)
    for _ in range(2):
        provider = launcher.up()
        assert provider.external_ip(HEAD) == server.address
    assert fake.calls["POST servers"] == 1
    told, shell = launcher.brought_up[0]
    assert (shell.address, shell.user) == (server.address, "root")
    assert read_settings(told["provider"], "stellux").overlay.head == server.address
    known = config["provider"]["head"]["hetzner"]["folder"] + "/stellux.known_hosts"
    assert all(f"UserKnownHostsFile={known}" in line for line in launcher.ran if "ssh" in line)
    assert any(f"stellux@{server.address}" in line for line in launcher.ran)
    # Later, from the same machine.
    assert launcher.provider().non_terminated_nodes(HEADS) == [HEAD]


def test_the_head_s_copy_has_its_address_and_nothing_of_hetzner(
    fake: FakeHetzner, config: dict[str, Any]
) -> None:
    config["provider"]["head"]["hetzner"]["ssh_public_key"] = KEY
    resolved = StelluxNodeProvider.bootstrap_config(config)
    machine = HeadMachine(address="192.0.2.9", key="/keys/mine", known_hosts="/keys/known")
    there = head_config(with_machine(resolved, machine), machine)
    text = json.dumps(there)
    for secret in ("hetzner", "create", "/keys", KEY, fake.token):
        assert secret not in text
    provider = StelluxNodeProvider(there["provider"], "stellux")
    assert provider.non_terminated_nodes(HEADS) == [HEAD]
    assert provider.external_ip(HEAD) == "192.0.2.9"


def down(provider: StelluxNodeProvider) -> None:
    """As `ray down` asks, again and again."""
    while left := provider.nodes_for_teardown(WORKERS) + provider.nodes_for_teardown(HEADS):
        provider.terminate_nodes(left)


def test_ray_down_ends_workers_then_fetches_then_deletes(
    server: LoopbackHead,
    fake: FakeHetzner,
    config: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launcher = Launcher(config, monkeypatch)
    launcher.up()
    results(tmp_path)
    events: list[str] = []

    class Daemon:
        def nodes(self) -> list[Any]:
            return []

        def status(self) -> Any:
            told = {"cluster": "stellux", "spent": 0.0, "in_flight": (), "being_destroyed": {}}
            return type("Status", (), told)

        def destroy_all(self, reason: str) -> list[int]:
            events.append(f"{reason}, {len(fake.servers)} servers")
            return [5] if len(events) < 3 else []

    monkeypatch.setattr(created_head, "_NEVER_RENTED", "echo rents\n")
    monkeypatch.setattr(provider_module, "remote_daemon", lambda shell: Daemon())
    monkeypatch.setattr(teardown, "stop_services", lambda _: events.append("stopped"))
    down(launcher.provider())
    assert events[0] == "stopped"
    assert len(events) >= 3
    assert set(events[1:]) == {"ray down, 1 servers"}
    assert fake.servers == {}
    assert (tmp_path / "stellux-stellux-results" / "store" / "1.pt").is_file()
    # Nothing is left to do, and that is no error.
    down(launcher.provider())


def test_ray_down_of_a_head_that_was_never_set_up(
    server: LoopbackHead,
    fake: FakeHetzner,
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launcher = Launcher(config, monkeypatch)
    head_of(config).make(lambda _: None)
    down(launcher.provider())
    assert fake.servers == {}


def test_ray_down_of_a_head_that_is_silent_deletes_nothing_and_says_where_to(
    server: LoopbackHead,
    fake: FakeHetzner,
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launcher = Launcher(config, monkeypatch)
    head_of(config).make(lambda _: None)
    server.stop()
    with pytest.raises(click.ClickException, match=r"delete it on https://console\.hetzner\.cloud"):
        down(launcher.provider())
    assert len(fake.servers) == 1
    server.begin()


@pytest.mark.sweeps
def test_ray_down_from_the_command_line(
    server: LoopbackHead, fake: FakeHetzner, config: dict[str, Any], tmp_path: Path
) -> None:
    head_of(config).make(lambda _: None)
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    server.program_there("sudo", 'shift; exec "$@"')
    ray = Path(sys.executable).with_name("ray")

    def ray_down(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ray, "down", path, "--yes"],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        )

    server.program_there("rsync", "exit 23")
    (tmp_path / "srv" / "store").mkdir(parents=True)
    refused = ray_down()
    assert refused.returncode == 1
    assert "Nothing was deleted" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert len(fake.servers) == 1
    done = ray_down(STELLUX_DISCARD="1")
    assert done.returncode == 0, done.stderr
    assert "No nodes remaining" in done.stdout + done.stderr
    assert fake.servers == {}


def test_mistakes_are_one_line_of_ray_s_commands(
    fake: FakeHetzner, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config["provider"]["head"]["hetzner"]["ssh_public_key"] = KEY
    provider = Launcher(config, monkeypatch).provider()
    fake.fail("GET servers", *[Fault.READ_ONLY] * 3)
    with pytest.raises(click.ClickException, match="make one that may read and write"):
        provider.non_terminated_nodes(HEADS)
    monkeypatch.delenv("HCLOUD_TOKEN")
    with pytest.raises(click.ClickException, match="HCLOUD_TOKEN is not set, or holds no token"):
        provider.non_terminated_nodes(HEADS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"create": "aws"}, r"provider\.head\.create is 'aws'; it can be hetzner"),
        ({"address": "x"}, "provider.head has an address and create"),
        (
            {"hetzner": {"ssh_public_key": KEY}},
            r"missing in provider\.head\.hetzner: max_euros_per_month",
        ),
        ({"hetzner": None}, "hetzner is None; an object is expected"),
        ({"hetzner": {"ssh_public_key": KEY, "max_euros_per_month": "8"}}, "is '8'; a number is"),
        ({"hetzner": {"ssh_public_key": "x.pub", "max_euros_per_month": 8}}, "cannot be read"),
        (
            {
                "hetzner": {
                    "ssh_public_key": KEY,
                    "max_euros_per_month": 8,
                    "dollars_per_euro": "1.1",
                }
            },
            r"provider\.head\.hetzner\.dollars_per_euro is '1\.1'; a number is expected",
        ),
        (
            {
                "hetzner": {"ssh_public_key": KEY, "max_euros_per_month": 8},
                "dollars_per_hour": 0.01,
            },
            r"dollars_per_hour is 0\.01, and Hetzner tells .* write dollars_per_euro under",
        ),
        ({"port": 22}, r"unknown setting 'port' in provider\.head"),
    ],
)
def test_a_mistake_in_the_yaml_is_named(
    config: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    config["provider"]["head"]["hetzner"]["ssh_public_key"] = KEY
    config["provider"]["head"] |= change
    with pytest.raises(click.ClickException, match=message):
        StelluxNodeProvider.bootstrap_config(config)


def test_its_user_is_root(config: dict[str, Any]) -> None:
    config["provider"]["head"]["hetzner"]["ssh_public_key"] = KEY
    config["auth"]["ssh_user"] = "ubuntu"
    with pytest.raises(click.ClickException, match=r"auth\.ssh_user is 'ubuntu'.*write root"):
        StelluxNodeProvider.bootstrap_config(config)


# By hand


def test_its_daemon_and_its_sweep_are_asked_from_here(
    server: LoopbackHead,
    fake: FakeHetzner,
    config: dict[str, Any],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    head_of(config).make(lambda _: None)
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    with FakeVast([]) as vast:
        daemon = DaemonProcess(tmp_path, vast, cluster="stellux")
        # In the place of the head's own user, Python and socket. What is sent runs as it is.
        server.program_there(
            "runuser",
            f"""case "$*" in
*tune_app.cloud.driver*)
  shift 8; echo "sweep: $*" | tr '\\n' '~'; echo; exit 3;;
esac
shift 4; exec {sys.executable} "$1" "$2" "$3" {daemon.socket}""",
        )
        daemon.start()
        try:
            with pytest.raises(SystemExit, match="0"):
                app(["status", "--cluster", str(path)])
            shown = capfd.readouterr().out
            with pytest.raises(SystemExit, match="3"):
                app(["start", "my space.py", "--cluster", str(path), "--tokens", "5M"])
        finally:
            vast.let_go()
            daemon.kill()
    assert "Cluster stellux: $0.00" in shown
    assert "-m tune_app.cloud.driver status" in shown
    assert "-m tune_app.cloud.driver start my space.py --tokens 5M~" in capfd.readouterr().out


def test_results_are_fetched_by_hand_too(
    server: LoopbackHead,
    fake: FakeHetzner,
    config: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results(tmp_path)
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    with pytest.raises(CloudError, match="the cluster has no head; make one with: ray up"):
        app(["fetch", "--cluster", str(path)], exit_on_error=False)
    head_of(config).make(lambda _: None)
    command = ["fetch", "--cluster", str(path), "--to", str(tmp_path / "mine")]
    with pytest.raises(SystemExit, match="0"):
        app(command)
    assert f"2 files, 0.0 MiB, are in {tmp_path / 'mine'}" in capsys.readouterr().out
    assert len(fake.servers) == 1
