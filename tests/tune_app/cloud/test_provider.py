"""The node provider, as Ray's launcher and autoscaler call it, over a real daemon."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    TAG_RAY_LAUNCH_REQUEST,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from tests.tune_app.cloud.autoscaling.ray_autoscaler import (
    HEAD,
    WORKER,
    RayCluster,
    ray_cluster,
    yaml_config,
)
from tests.tune_app.cloud.daemon.daemons import until
from tests.tune_app.cloud.vast.fake_vast import Fault
from tune_app.cloud.autoscaling import teardown
from tune_app.cloud.daemon.protocol import DaemonError, encode, node_message
from tune_app.cloud.errors import CloudError, LaunchError, UnknownInstanceError
from tune_app.cloud.head_machine import choose as heads
from tune_app.cloud.overlay.addresses import Ports
from tune_app.cloud.provider import HeadIsKeptError, NoSuchNodeError, StelluxNodeProvider
from tune_app.cloud.renting.workers import Node
from tune_app.cloud.secrets.account_total import read_total, set_aside, set_total
from tune_app.cloud.secrets.ssh_keys import KeyPair, key_file

HEADS = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD}
WORKERS = {TAG_RAY_NODE_KIND: NODE_KIND_WORKER}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RayCluster]:
    with ray_cluster(tmp_path) as made:
        yield made


def laptop(**values: Any) -> StelluxNodeProvider:
    """Where `ray up` starts from; it reaches no daemon."""
    return StelluxNodeProvider(yaml_config(**values)["provider"], "stellux")


def create(provider: StelluxNodeProvider, launch: str, count: int = 1, **tags: str) -> list[str]:
    """As Ray's adapter does."""
    own = WORKERS | {TAG_RAY_LAUNCH_REQUEST: launch, TAG_RAY_USER_NODE_TYPE: WORKER} | tags
    return sorted(provider.create_node_with_resources_and_labels({}, own, count, {}, {}))


def test_the_daemon_knows_the_workers_whoever_asks(cluster: RayCluster) -> None:
    provider, other = cluster.provider(), cluster.provider()
    made = create(provider, "launch", 2)
    assert made == cluster.alive()
    assert sorted(other.non_terminated_nodes({})) == sorted([HEAD, *made])
    assert other.non_terminated_nodes(HEADS) == [HEAD]
    assert sorted(other.non_terminated_nodes(WORKERS)) == made
    assert {other.internal_ip(worker) for worker in made} == {"127.77.0.2", "127.77.0.3"}
    assert (other.internal_ip(HEAD), other.external_ip(HEAD)) == ("127.77.0.1", "head.example")
    tags = other.node_tags(made[0])
    assert (tags[TAG_RAY_USER_NODE_TYPE], tags[TAG_RAY_LAUNCH_REQUEST]) == (WORKER, "launch")
    until(lambda: bool(provider.non_terminated_nodes({})) and provider.is_running(made[0]))

    provider.terminate_nodes(made)
    assert cluster.alive() == []
    assert other.is_terminated(made[0])
    assert other.non_terminated_nodes(WORKERS) == []
    provider.terminate_node(made[0])  # again: nothing happens
    with pytest.raises(UnknownInstanceError):
        provider.terminate_node("17")
    for absent in ("17", "nonsense"):
        with pytest.raises(NoSuchNodeError):
            provider.internal_ip(absent)
    with pytest.raises(NoSuchNodeError):
        provider.terminate_node("nonsense")


def test_tags_that_ray_sets_are_kept_while_the_node_is_there(cluster: RayCluster) -> None:
    provider = cluster.provider()
    (worker,) = create(provider, "launch")
    provider.set_node_tags(worker, {TAG_RAY_NODE_STATUS: "up-to-date"})
    assert provider.non_terminated_nodes({TAG_RAY_NODE_STATUS: "up-to-date"}) == [HEAD, worker]
    assert provider.node_tags(worker)[TAG_RAY_NODE_STATUS] == "up-to-date"
    provider.terminate_node(worker)
    assert provider.non_terminated_nodes({}) == [HEAD]
    with pytest.raises(NoSuchNodeError):
        provider.node_tags(worker)


def test_a_worker_whose_set_up_failed_is_told_from_one_that_ray_has_no_use_for(
    cluster: RayCluster,
) -> None:
    provider = cluster.provider()
    idle, bad = create(provider, "launch", 2)
    machine = next(item for item in cluster.daemon.client.nodes() if str(item.contract) == bad)
    provider.set_node_tags(idle, {TAG_RAY_NODE_STATUS: "up-to-date"})
    provider.set_node_tags(bad, {TAG_RAY_NODE_STATUS: "update-failed"})
    provider.terminate_nodes([idle, bad])
    status = cluster.daemon.client.status()
    assert cluster.alive() == []
    assert status.avoided == {str(machine.machine): "its set-up failed"}
    assert "its set-up failed" in status.failures[WORKER]


def test_create_does_not_wait_for_loading(cluster: RayCluster) -> None:
    cluster.fake.load_s = 3_600.0
    provider = cluster.provider()
    started = time.monotonic()
    (worker,) = create(provider, "launch")
    assert time.monotonic() - started < 5.0
    assert not provider.is_running(worker)
    assert worker in provider.non_terminated_nodes({})


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A short one: a socket's path has 107 bytes at most, and tmp_path may be longer."""
    with tempfile.TemporaryDirectory(prefix="stellux-", dir="/tmp") as folder:
        yield Path(folder) / "s"


def test_create_answers_in_time_where_the_daemon_does_not(socket_path: Path) -> None:
    config = yaml_config(socket=str(socket_path), answer_s=0.3)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(socket_path))
        silent.listen()
        started = time.monotonic()
        # In doubt, and so not failed: an error would bring a launch of another id.
        assert create(StelluxNodeProvider(config["provider"], "stellux"), "launch", 3) == []
        assert time.monotonic() - started < 3.0
    with pytest.raises(ValueError, match=r"answer_s is 61\.0; it must be over 0 and at most 60"):
        StelluxNodeProvider(config["provider"] | {"answer_s": 61.0}, "stellux")


def test_a_launch_that_failed_for_certain_is_an_error(cluster: RayCluster) -> None:
    provider = cluster.provider()
    cluster.fake.fail("create", *[Fault.UNAVAILABLE] * 3)
    with pytest.raises(LaunchError, match="the GPU is in use"):
        create(provider, "launch")
    with pytest.raises(LaunchError, match="unknown node type 'cpu'"):
        create(provider, "launch", **{TAG_RAY_USER_NODE_TYPE: "cpu"})
    assert cluster.alive() == []


def test_only_workers_of_a_launch_are_rented() -> None:
    with pytest.raises(ValueError, match="only workers of a launch"):
        laptop().create_node({}, HEADS, 1)
    with pytest.raises(ValueError, match="only workers of a launch"):
        create(laptop(), "")


def test_calls_from_many_threads(cluster: RayCluster) -> None:
    provider = cluster.provider()
    wrong: list[BaseException] = []

    def work(number: int) -> None:
        try:
            (worker,) = create(provider, f"launch{number}")
            assert worker in provider.non_terminated_nodes(WORKERS)
            assert provider.internal_ip(worker).startswith("127.77.0.")
            provider.set_node_tags(worker, {TAG_RAY_NODE_STATUS: "up-to-date"})
            provider.terminate_nodes([worker])
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert (cluster.alive(), cluster.fake.calls["create"]) == ([], 6)


# Lists


def test_without_the_daemon_a_list_raises_and_the_head_is_known(tmp_path: Path) -> None:
    provider = laptop(socket=str(tmp_path / "nobody"))
    assert provider.non_terminated_nodes(HEADS) == [HEAD]
    for filters in ({}, WORKERS):
        with pytest.raises(DaemonError, match="does not answer"):
            provider.non_terminated_nodes(filters)
    with pytest.raises(DaemonError):
        provider.is_terminated("5000001")


def test_a_list_that_the_api_fails_raises(tmp_path: Path) -> None:
    with ray_cluster(tmp_path, patience={"poll": 600.0}) as cluster:
        provider = cluster.provider()
        create(provider, "launch")
        time.sleep(0.1)
        cluster.fake.fail("list", *[Fault.HTML] * 10)
        with pytest.raises((CloudError, DaemonError)):
            provider.non_terminated_nodes({})


def node(**values: Any) -> dict[str, Any]:
    return (
        node_message(
            Node(
                contract=7,
                request="launch-1",
                node_type=WORKER,
                k=2,
                label=f"stellux/stellux/{WORKER}/2/launch-1.1",
                machine=1,
                gpu="RTX 4090",
                cpus=8.0,
                dollars_per_hour=0.3,
                since=0.0,
                status="running",
            )
        )
        | values
    )


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({"nodes": []}, "list of workers is not a list"),
        (None, "list of workers is not a list"),
        ([node(), {}], "does not know"),
        ([node(), node(k=3, label=f"stellux/stellux/{WORKER}/3/b-1.1")], "instance 7 twice"),
        ([node(contract="7")], "instance '7' twice, or without a number"),
        ([node(), node(contract=8)], "number 2, which no worker may have, or another one has"),
        (
            [node(k=1, label=f"stellux/stellux/{WORKER}/1/b-1.1")],
            "number 1, which no worker may have",
        ),
        ([node(k=3)], "number 3"),
        ([node(label=f"stellux/other/{WORKER}/2/b-1.1")], "not the cluster 'stellux''s"),
        ([node(label=None)], "label 'None'"),
    ],
)
def test_an_odd_list_raises(socket_path: Path, listed: object, message: str) -> None:
    provider = StelluxNodeProvider(yaml_config(socket=str(socket_path))["provider"], "stellux")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_path))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4_096)
                connection.sendall(encode({"ok": True, "result": listed}, 10_000))

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(DaemonError, match=message):
            provider.non_terminated_nodes({})
        thread.join(5)


# The head


def test_the_head_is_kept_on_the_head_and_workers_beside_it_are_ended(cluster: RayCluster) -> None:
    provider = cluster.provider()
    (worker,) = create(provider, "launch")
    with pytest.raises(HeadIsKeptError, match=r"the head head\.example is kept"):
        provider.terminate_nodes([HEAD, worker])
    assert cluster.alive() == []
    assert provider.non_terminated_nodes({}) == [HEAD]
    assert cluster.daemon.client.status().closed == ""


def test_ray_up_never_replaces_the_head() -> None:
    with pytest.raises(HeadIsKeptError):
        laptop().terminate_node(HEAD)


def test_ray_down_ends_every_worker_and_releases_the_head_after_two_empty_looks(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    set_total(tmp_path, 150.0)
    set_aside(tmp_path, "stellux", 50.0)
    on_the_head: list[str] = []
    monkeypatch.setattr(heads, "has_account_key", lambda _: True)
    for module, name in ((teardown, "stop_services"), (heads, "release")):
        monkeypatch.setattr(module, name, lambda _, name=name: on_the_head.append(name))
    create(cluster.provider(), "launch", 2)
    down = cluster.provider(on_head=False, looks_apart_s=0.5)
    cluster.fake.fail("destroy", *[Fault.REFUSED_500] * 2)

    def remaining() -> list[str]:
        """As `ray down` asks, again and again."""
        return down.nodes_for_teardown(HEADS) + down.nodes_for_teardown(WORKERS)

    seen: list[tuple[int, bool]] = []
    end = time.monotonic() + 20
    while left := remaining():
        assert time.monotonic() < end, left
        down.terminate_nodes(left)
        seen.append((len(cluster.alive()), down.is_terminated(HEAD)))
        time.sleep(0.05)
    assert on_the_head == ["stop_services", "release"]
    assert (0, False) in seen  # the first empty look released nothing
    assert seen[-1] == (0, True)
    status = cluster.daemon.client.status()
    assert status.closed == "ray down"
    assert 0 < read_total(tmp_path).taken() == pytest.approx(status.spent), "the rest is free"
    with pytest.raises(LaunchError, match="ray down"):
        create(cluster.provider(), "another")


def test_from_elsewhere_commands_run_on_the_head_only_and_its_host_key_is_checked() -> None:
    head = {"address": "head.example", "port": 2_222, "key": "/keys/mine"}
    provider = laptop(head=head)
    ran: list[list[str]] = []

    class Runner:
        @staticmethod
        def check_output(command: list[str]) -> bytes:
            ran.append(command)
            return b""

    def runner(node_id: str) -> Any:
        auth = {"ssh_user": "me"}
        return provider.get_command_runner("", node_id, auth, "stellux", Runner, False)  # type: ignore[arg-type]

    runner(HEAD).run("true", with_output=True, ssh_options_override_ssh_key="/keys/other")
    line = " ".join(ran[0])
    assert "StrictHostKeyChecking=yes" in line
    assert "Port=2222" in line
    assert "-i /keys/mine" in line
    assert "stellux@head.example" in line
    assert "UserKnownHostsFile" not in line
    assert "/keys/other" not in line
    shell = runner(HEAD).remote_shell_command_str()
    assert "StrictHostKeyChecking=yes -p 2222 -i /keys/mine stellux@head.example" in shell
    # 127.77.0.2:22 is the head's own SSH server.
    with pytest.raises(ValueError, match="no command can be run on worker 5"):
        runner("5")


@pytest.fixture
def ssh_server(tmp_path: Path) -> Iterator[Path]:
    """The folder of a worker's SSH server, at the address and port of the overlay's node 2."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None or shutil.which("ssh") is None:
        pytest.skip("no OpenSSH server and client on this machine")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    folder = tmp_path / "ssh"
    folder.mkdir()
    public = key_file(folder / "updater_key").public
    (folder / "authorized_keys").write_text(f"{public}\n", "utf-8")
    known = f"[127.77.0.2]:{Ports(2).sshd} {key_file(folder / 'host_key').public}\n"
    (folder / "known_workers").write_text(known, "utf-8")
    lines = [
        f"ListenAddress 127.77.0.2:{Ports(2).sshd}",
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "StrictModes no",
        "PidFile none",
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n", "utf-8")
    server = subprocess.Popen([program, "-D", "-e", "-f", f"{folder}/sshd_config"])
    try:
        until(lambda: listens(Ports(2).sshd))
        yield folder
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def agent(ssh_server: Path, socket_path: Path) -> Iterator[Path]:
    """The socket of an agent that holds the key to the worker; its public half lies in a file."""
    (ssh_server / "updater_key.pub").write_text(key_file(ssh_server / "updater_key").public)
    told = os.environ | {"SSH_AUTH_SOCK": str(socket_path)}
    server = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket_path)], stdout=-3)
    try:
        until(socket_path.is_socket)
        subprocess.run(["ssh-add", "-q", ssh_server / "updater_key"], check=True, env=told)
        yield socket_path
    finally:
        server.terminate()
        server.wait(10)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.77.0.2", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_on_the_head_commands_run_on_a_worker_whose_host_key_is_known(
    cluster: RayCluster, ssh_server: Path, agent: Path
) -> None:
    (ssh_server / "updater_key").unlink()  # the agent alone has it
    access = {"key": str(ssh_server / "updater_key.pub"), "user": getpass.getuser()}
    access["agent"] = str(agent)
    known, strange = ssh_server / "known_workers", ssh_server / "strange"
    own = key_file(ssh_server / "host_key").public
    strange.write_text(known.read_text("utf-8").replace(own, KeyPair.new().public), "utf-8")
    (worker,) = create(cluster.provider(), "launch")
    said: list[bytes] = []
    for file in (strange, known):
        provider = cluster.provider(workers=access | {"known_hosts": str(file)})
        runner = provider.get_command_runner(
            "", worker, {"ssh_user": "nobody"}, "stellux", subprocess, True
        )
        runner.ssh_options.arg_dict["ControlMaster"] = "no"
        try:
            said.append(runner.run("echo here", with_output=True, timeout=10))
        except click.ClickException:
            said.append(b"refused")
    assert said[0] == b"refused"
    assert b"here" in said[1]


def test_the_runner_s_options_are_what_ssh_understands() -> None:
    runner = laptop().get_command_runner("", HEAD, {"ssh_user": "me"}, "stellux", subprocess, False)
    command = ["ssh", "-G", *runner.ssh_options.to_ssh_options_list(), "head.example"]
    try:
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        pytest.skip("no ssh on this machine")
    assert "stricthostkeychecking true" in told
    assert "known_hosts" in told
