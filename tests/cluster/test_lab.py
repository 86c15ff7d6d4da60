"""What the lab promises, on which the tests of the cluster rest."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cluster import lab as module
from tests.cluster.instances import start_log, vast_in
from tests.cluster.lab import PREFIX, Lab, why_not
from tests.cluster.machine import REPOSITORY, Machine
from tests.cluster.namespaces import started_at, users_of
from tests.cluster.network import HEAD
from tests.cluster.port_scan import scanned
from tests.tune_app.cloud.vast.fake_vast import FakeVast, Fault, offer
from tune_app.cloud.head.firewall import firewall_rules

pytestmark = pytest.mark.cluster

PYTHON = str(REPOSITORY / ".venv/bin/python")
ECHO = """\
import socket, sys
both = {"family": socket.AF_INET6, "dualstack_ipv6": True}
server = socket.create_server(("::", int(sys.argv[1])), **both)
while True:
    connection, _ = server.accept()
    while got := connection.recv(100):
        connection.sendall(got)
"""
CONNECT = """\
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2).close()
"""


def until(true: Callable[[], object], *, within_s: float = 10.0) -> None:
    """Returns when it is so."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    """All are skipped where no lab can be."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made
    assert made.leftovers() == []


@pytest.fixture(scope="module")
def laptop(lab: Lab) -> Machine:
    return lab.add_laptop()


@pytest.fixture(scope="module")
def head(lab: Lab) -> Machine:
    return lab.add_head()


@pytest.fixture(scope="module")
def workers(lab: Lab) -> list[Machine]:
    return [lab.add_worker("worker-1"), lab.add_worker("worker-2")]


def _listen(machine: Machine, port: int) -> None:
    """At its addresses of both families."""
    machine.start([PYTHON, "-c", ECHO, str(port)])
    until(lambda: f":{port} " in machine.run(["ss", "-Hltn"]).stdout)


def _runs(machine: Machine, command: str) -> bool:
    return command in machine.processes().values()


def _reaches(machine: Machine, address: str, port: int) -> bool:
    done = machine.run([PYTHON, "-c", CONNECT, address, str(port)], check=False)
    return done.returncode == 0


def test_workers_reach_the_head_and_nobody_reaches_them(
    lab: Lab, laptop: Machine, head: Machine, workers: list[Machine]
) -> None:
    one, two = workers
    for machine in (head, one, two):
        _listen(machine, 7000)
    assert one.address == two.address == "192.168.1.2"
    assert one.place.public != two.place.public
    for machine in (laptop, one, two):
        assert _reaches(machine, HEAD, 7000)
    assert _reaches(laptop, head.place.public6, 7000)
    for machine in (laptop, head, two):
        assert not _reaches(machine, one.place.public6, 7000)
        assert not _reaches(machine, one.place.public, 7000)
        assert machine is two or not _reaches(machine, one.address, 7000)


def test_the_head_sees_a_worker_under_its_router_s_address(
    head: Machine, workers: list[Machine]
) -> None:
    with head.listening_socket(HEAD, 7001) as listening:
        workers[0].start([PYTHON, "-c", CONNECT, HEAD, "7001"])
        listening.settimeout(5)
        connection, (address, _) = listening.accept()
        connection.close()
    assert address == workers[0].place.public


def test_nothing_reaches_the_host_or_the_internet(head: Machine, workers: list[Machine]) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listening:
        port = listening.getsockname()[1]
        for machine in (head, workers[0]):
            assert not _reaches(machine, "127.0.0.1", port)
            assert not _reaches(machine, "198.51.100.1", port)
            seen = machine.run(["ip", "-o", "link"]).stdout
            assert [line.split()[1].partition("@")[0] for line in seen.splitlines()] == [
                "lo:",
                "eth0",
            ]
            for elsewhere in ("192.0.2.1", "2001:db8:1::1"):
                refused = machine.run([PYTHON, "-c", CONNECT, elsewhere, "80"], check=False)
                assert "Network is unreachable" in refused.stderr


def test_a_socket_made_here_answers_inside_the_head_alone(head: Machine, laptop: Machine) -> None:
    with FakeVast(listening=head.listening_socket("127.0.0.1", 7002)) as fake:
        assert fake.url == "http://127.0.0.1:7002"
        command = ["curl", "--silent", "--max-time", "3", f"{fake.url}/api/v0/users/current/"]
        assert json.loads(head.run(command).stdout)["error"] == "auth_error"
        assert laptop.run(command, check=False).returncode != 0


def test_processes_die_with_their_machine(lab: Lab) -> None:
    machine = lab.add_worker("short-lived")
    ignoring = machine.start(["sh", "-c", "trap '' TERM HUP; setsid sleep 1000 & sleep 1000"])
    until(lambda: list(machine.processes().values()).count("sleep 1000") == 2)
    running = {pid: started_at(pid) for pid in machine.processes()}
    assert ignoring.pid in running
    began = time.monotonic()
    machine.power_off()
    assert time.monotonic() - began < 1
    assert all(started_at(pid) != started for pid, started in running.items())
    assert ignoring.wait(5) != 0
    assert machine.processes() == {}
    with pytest.raises(ConnectionError, match="is off"):
        machine.run(["true"])
    folder = machine.folder
    lab.remove(machine)
    assert not folder.exists()
    assert machine.name not in {other.name for other in lab.machines}


def test_a_machine_that_boots_has_its_disk_and_nothing_in_memory(lab: Lab) -> None:
    machine = lab.add_worker("rebooted", shared_memory=8 << 20)
    for folder in ("/etc", "/root", "/tmp", "/run", "/dev/shm", REPOSITORY):
        machine.path(f"{folder}/mark").write_text("here", "utf-8")
    size = machine.run(["df", "--output=size", "-B1", "/dev/shm"]).stdout.split()[1]
    assert int(size) == 8 << 20
    machine.power_off()
    assert machine.path("/etc/mark").read_text("utf-8") == "here"
    began = time.monotonic()
    machine.boot()
    assert time.monotonic() - began < 1
    files = "find /etc/mark /root/mark /tmp /run /dev/shm -xdev -type f"
    assert machine.run(["sh", "-c", files]).stdout.split() == ["/etc/mark", "/root/mark"]
    # Wherever the checkout lies on the host: there, too, /tmp may be that place.
    assert machine.path(REPOSITORY / "mark").read_text("utf-8") == "here"
    assert machine.path(REPOSITORY / "Makefile").is_file()
    assert not (REPOSITORY / "mark").exists()
    assert machine.run(["hostname"]).stdout == "rebooted\n"
    lab.remove(machine)


def test_dropped_packets_stall_a_connection_and_do_not_end_it(
    lab: Lab, head: Machine, workers: list[Machine]
) -> None:
    with head.listening_socket(HEAD, 7003) as listening:
        speaker = (
            "import socket, time\n"
            f"link = socket.create_connection(({HEAD!r}, 7003))\n"
            "while True:\n    link.sendall(b'x'); time.sleep(0.02)\n"
        )
        talking = workers[0].start([PYTHON, "-c", speaker])
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(0.5)
            assert connection.recv(1)
            lab.drop_packets(workers[0], True)
            lab.drop_packets(workers[0], True)
            with pytest.raises(TimeoutError):
                while connection.recv(1_000):
                    pass
            assert talking.poll() is None
            assert not _reaches(workers[0], HEAD, 7003)
            assert "LOWER_UP" in workers[0].run(["ip", "link", "show", "eth0"]).stdout
            lab.drop_packets(workers[0], False)
            connection.settimeout(10)
            assert connection.recv(1)
        assert talking.wait(10) != 0  # the other end is closed


@pytest.mark.parametrize("name", ["head", "laptop"])
def test_packets_of_a_machine_without_a_router_are_dropped_too(
    lab: Lab, head: Machine, laptop: Machine, name: str
) -> None:
    _listen(head, 7004 if name == "head" else 7005)
    port = 7004 if name == "head" else 7005
    assert _reaches(laptop, HEAD, port)
    dropped = head if name == "head" else laptop
    lab.drop_packets(dropped, True)
    for address in (HEAD, head.place.public6):
        failed = laptop.run([PYTHON, "-c", CONNECT, address, str(port)], check=False)
        assert "TimeoutError" in failed.stderr
    lab.drop_packets(dropped, False)
    assert _reaches(laptop, HEAD, port)
    assert _reaches(laptop, head.place.public6, port)


def test_a_scan_finds_what_listens_behind_a_firewall_or_none(lab: Lab, laptop: Machine) -> None:
    machine = lab.add("scanned", "198.51.100.30")
    for port in (22, 7007, 65_535):
        _listen(machine, port)
    addresses = (machine.place.public, machine.place.public6)
    for address in addresses:
        assert scanned(laptop, address) == [22, 7007, 65_535]
    machine.run(["nft", "-f", "-"], input=firewall_rules([22]))
    for address in addresses:
        assert scanned(laptop, address) == [22]
    lab.drop_packets(machine, True)
    with pytest.raises(subprocess.CalledProcessError, match="nothing answers"):
        scanned(laptop, machine.place.public6)
    lab.remove(machine)


def test_a_worker_has_a_container_s_rights_and_the_head_all(
    head: Machine, workers: list[Machine]
) -> None:
    worker = workers[0]
    for command in (
        "mount -t tmpfs tmpfs /mnt",
        "ip link set eth0 down",
        "nft list ruleset",
        "hostname other",
        "unshare --net true",
    ):
        assert worker.run(["sh", "-c", command], check=False).returncode != 0, command
    assert worker.run(["sh", "-c", "chown nobody /srv && su nobody -s /bin/sh -c id"]).stdout
    head.run(["sh", "-ec", "nft add table ip mine; nft delete table ip mine"])
    head.run(["sh", "-ec", "mount -t tmpfs tmpfs /mnt; umount /mnt"])
    assert head.run(["date", "--set", "@0"], check=False).returncode != 0
    for machine in (head, worker):
        system = machine.run(["sh", "-c", "echo 1 >/proc/sys/kernel/panic"], check=False)
        assert system.returncode != 0
        assert len(machine.run(["ps", "-e"]).stdout.splitlines()) < 30


def test_the_host_s_files_do_not_change_and_its_private_ones_are_hidden(
    lab: Lab, tmp_path: Path
) -> None:
    machine = lab.add("scratch", "198.51.100.20")
    name = f"/opt/{PREFIX}{os.getpid()}"
    before = Path("/etc/passwd").read_bytes()
    machine.run(["sh", "-ec", f"echo x >>/etc/passwd; echo y >{name}; rm -r /usr/share/doc"])
    assert machine.path(name).read_text("utf-8") == "y\n"
    assert not Path(name).exists()
    assert Path("/etc/passwd").read_bytes() == before
    assert Path("/usr/share/doc").is_dir()
    assert not machine.path("/usr/share/doc").exists()
    for folder in ("/tmp", "/run", "/home", "/root/.ssh", "/var/tmp"):
        found = machine.path(folder)
        there = [f"{folder}/{path.name}" for path in found.iterdir()] if found.exists() else []
        assert [path for path in there if not REPOSITORY.is_relative_to(path)] == []
    assert not machine.path(tmp_path).exists()
    machine.run(["ln", "-s", "/etc", "/opt/link"])
    machine.path("/opt/link/mark").write_text("inside", "utf-8")
    assert machine.path("/etc/mark").read_text("utf-8") == "inside"
    assert not Path("/etc/mark").exists()
    lab.remove(machine)


def test_the_environment_serves_an_unprivileged_user(head: Machine) -> None:
    head.run(["useradd", "--create-home", "ada"])
    said = head.run(
        [PYTHON, "-c", "import getpass, os, ray, torch; print(getpass.getuser(), os.getcwd())"],
        user="ada",
    )
    assert said.stdout == "ada /home/ada\n"
    denied = head.run(["cat", "/etc/shadow"], user="ada", check=False)
    assert denied.returncode != 0


def test_commands_have_input_limits_and_signals(head: Machine, tmp_path: Path) -> None:
    assert head.run(["cat"], input="text").stdout == "text"
    assert head.run(["sh", "-c", "echo $A"], env={"A": "b"}).stdout == "b\n"
    with pytest.raises(subprocess.CalledProcessError, match="no such thing"):
        head.run(["sh", "-c", "echo no such thing >&2; false"])
    with pytest.raises(subprocess.TimeoutExpired):
        head.run(["sh", "-c", "sleep 999 & wait"], timeout=0.3)
    until(lambda: "sleep 999" not in head.processes().values())
    with pytest.raises(ValueError, match="no user 'nobody-here'"):
        head.run(["true"], user="nobody-here")
    log = tmp_path / "log"
    process = head.start(
        ["sh", "-c", "trap 'echo bye; exit 3' TERM; echo hi; sleep 9 & wait"], log=log
    )
    until(lambda: log.exists() and log.read_text("utf-8") == "hi\n")
    process.terminate()
    assert process.wait(5) == 3
    assert log.read_text("utf-8") == "hi\nbye\n"


OWNER = """\
import sys, time
from tests.cluster.lab import Lab
lab = Lab()
machine = lab.add_worker("orphan")
machine.listening_socket("127.0.0.1", 8000)
machine.start(["sleep", "4242"])
print(lab.folder, lab.keeper.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_lab_ends_with_its_owner(number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        stderr=subprocess.DEVNULL,
    )
    assert owner.stdout is not None
    name, keeper = owner.stdout.readline().split()
    folder = Path(name)
    assert len(users_of(folder)) >= 4
    owner.send_signal(number)
    owner.wait(10)
    owner.stdout.close()
    until(lambda: users_of(folder) == [])
    assert started_at(int(keeper)) is None
    with Lab() as following:
        assert not folder.exists()
    assert following.leftovers() == []


def test_a_lab_leaves_others_alone(lab: Lab, head: Machine) -> None:
    module.remove_dead_labs()
    with Lab() as other:
        other.add_head("other")
        assert lab.folder.exists()
    assert other.leftovers() == []
    assert lab.leftovers() != []
    assert head.run(["true"]).returncode == 0


def test_instances_are_machines(lab: Lab, head: Machine) -> None:
    offers = [offer(number) for number in range(1, 5)]
    with vast_in(lab, head, port=7006, offers=offers, load_s=0.3) as (fake, instances):

        def call(
            method: str, path: str, body: dict[str, object] | None = None
        ) -> dict[str, object]:
            said = head.run(
                ["curl", "--silent", "-X", method, "-H", f"Authorization: Bearer {fake.key}"]
                + ([] if body is None else ["-d", json.dumps(body)])
                + [f"{fake.url}/api/{path}"]
            )
            answer: dict[str, object] = json.loads(said.stdout)
            return answer

        def create(number: int) -> int:
            start = 'echo "I am $NAME"; sleep 555'
            env = {"NAME": f"n{number}", "-p 70000:70000": "1"}
            body = {"price": 0.3, "disk": 10, "image": "cuda", "onstart": start, "env": env}
            return int(str(call("PUT", f"v0/asks/{number}/", body)["new_contract"]))

        def state(number: int) -> str:
            shown = call("GET", f"v0/instances/{number}/")["instances"]
            assert isinstance(shown, dict)
            return str(shown["actual_status"])

        one, two = create(1), create(2)
        assert state(one) in ("None", "loading")
        assert one not in instances.machines
        until(lambda: state(one) == state(two) == "running")
        machines = instances.machines
        for number in (one, two):
            until(partial(_runs, machines[number], "sleep 555"))
            assert start_log(lab, number) == f"I am n{1 if number == one else 2}\n"
        running = [(pid, started_at(pid)) for one in machines.values() for pid in one.processes()]

        fake.outbid(one)
        call("DELETE", f"v0/instances/{two}/")
        until(lambda: instances.machines == {})
        until(lambda: all(started_at(pid) != started for pid, started in running))
        assert state(one) == "exited"

        fake.fail("create", Fault.NEVER_LOADS)
        never = create(3)
        ended = create(4)
        call("DELETE", f"v0/instances/{ended}/")
        time.sleep(0.8)
        assert state(never) == "loading"
        assert instances.machines == {}
    assert instances.failed == []
    assert [machine.name for machine in lab.machines if machine.name.startswith("w5")] == []


def test_it_says_why_there_can_be_no_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not() is None
    monkeypatch.setitem(module.TOOLS, "no-such-tool", "its-package")
    assert why_not() == "no no-such-tool; apt-get install its-package"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why_not() == "machines are made by root alone"
