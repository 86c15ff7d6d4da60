"""The units that the head runs, its firewall, and what Ray's user may ask of root."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tune_app.cloud import head_paths
from tune_app.cloud.head.firewall import firewall_rules
from tune_app.cloud.head.ray_home import RAY_WRITES, SWEEP_WRITES
from tune_app.cloud.head.units import (
    CLOUD,
    ENABLED,
    FIREWALL,
    HEAD,
    KEEPER,
    SSHD,
    STORE_AGENT,
    SWEEP,
    UNITS,
    UPDATER_AGENT,
    head_environment,
    sudoers,
    unit_text,
)
from tune_app.cloud.sweep_service import supervisor

SYSTEM_UNITS = Path("/usr/lib/systemd/system")
AGENTS = {
    STORE_AGENT: (head_paths.STORE_AGENT, "store_key"),
    UPDATER_AGENT: (head_paths.UPDATER_AGENT, "updater_key"),
}
"""Where each listens, and the key that it holds."""


class Unit(configparser.RawConfigParser):
    """Sections of a unit; a directive that stands twice has its values in one line each."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, dict_type=_Merged, comment_prefixes=("#",))
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read_string(unit_text(name))

    def words(self, section: str, key: str) -> list[str]:
        return self.get(section, key, fallback="").split()


class _Merged(dict):  # type: ignore[type-arg]
    def __setitem__(self, key: object, value: object) -> None:
        if isinstance(value, list) and isinstance(self.get(key), list):
            value = self[key] + value
        super().__setitem__(key, value)


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not SYSTEM_UNITS.is_dir(),
    reason="no systemd-analyze; apt-get install systemd",
)
@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_every_line_of_a_unit(name: str, tmp_path: Path) -> None:
    shutil.copytree(SYSTEM_UNITS, tmp_path / "lib/systemd/system", symlinks=True)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    for each in UNITS:
        (tmp_path / "etc/systemd/system" / each).write_text(unit_text(each), "utf-8")
    # Programs that are not there would be complained of.
    programs = ("opt/stellux/env/bin/python", "usr/sbin/sshd", "usr/sbin/nft", "bin/sh", "bin/rm")
    for program in (*programs, "usr/bin/ssh-agent"):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n", "utf-8")
        path.chmod(0o755)
    done = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            f"--root={tmp_path}",
            "--man=no",
            "--recursive-errors=no",
            name,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_units_start_after_those_before_them() -> None:
    for later, earlier in (
        (SSHD, FIREWALL),
        (KEEPER, SSHD),
        (CLOUD, KEEPER),
        (HEAD, CLOUD),
        (HEAD, FIREWALL),
        (HEAD, UPDATER_AGENT),
        (SWEEP, STORE_AGENT),
        (SWEEP, HEAD),
    ):
        assert earlier in Unit(later).words("Unit", "After")
        assert earlier in Unit(later).words("Unit", "Wants")
        assert UNITS.index(earlier) < UNITS.index(later)
    named = {
        word
        for name in UNITS
        for key in ("After", "Wants", "Requires")
        for word in Unit(name).words("Unit", key)
        if word.startswith("stellux")
    }
    assert named <= set(UNITS)
    assert set(UNITS) - set(ENABLED) == {SWEEP}


def test_the_firewall_outlasts_other_rules_and_stands_before_ray() -> None:
    unit = Unit(FIREWALL)
    assert {"nftables.service", "ufw.service"} <= set(unit.words("Unit", "After"))
    rules = f"/usr/sbin/nft -f {head_paths.FIREWALL}"
    assert unit.get("Service", "ExecStart") == unit.get("Service", "ExecReload") == rules
    assert Unit(HEAD).get("Service", "ExecStartPre") == f"+{rules}"


def test_who_runs_what() -> None:
    users = {name: Unit(name).get("Service", "User", fallback="root") for name in UNITS}
    assert users == {
        FIREWALL: "root",
        SSHD: "root",
        KEEPER: "root",
        STORE_AGENT: head_paths.RAY_USER,
        UPDATER_AGENT: head_paths.RAY_USER,
        CLOUD: head_paths.CLOUD_USER,
        HEAD: head_paths.RAY_USER,
        SWEEP: head_paths.RAY_USER,
    }


def test_no_unit_is_given_up() -> None:
    for name in UNITS:
        unit = Unit(name)
        if name == FIREWALL:
            continue
        assert unit.get("Unit", "StartLimitIntervalSec") == "0"
        assert unit.get("Service", "Restart") == ("on-failure" if name == SWEEP else "always")
        assert unit.has_option("Service", "RestartSec")
    prevented = Unit(SWEEP).words("Service", "RestartPreventExitStatus")
    assert prevented == ["2", "3", "75"]
    assert (supervisor.MISTAKE, supervisor.GIVEN_UP, supervisor.OUT_OF_DOLLARS) == (2, 3, 75)
    assert str(supervisor.RAY_SILENT) not in prevented


def test_the_sweep_has_more_time_to_end_than_its_supervisor_gives_it() -> None:
    save_s = supervisor.SweepSupervisor.__dataclass_fields__["save_s"].default
    assert float(Unit(SWEEP).get("Service", "TimeoutStopSec")) > save_s + 10
    assert Unit(SWEEP).get("Service", "KillMode") == "mixed"
    assert Unit(HEAD).get("Service", "KillMode") == "control-group"


def test_the_key_comes_by_standard_input_alone() -> None:
    for name in UNITS:
        where = [line for line in unit_text(name).splitlines() if "key" in line.lower()]
        told = [line for line in where if not line.startswith(("#", "InaccessiblePaths=", "Descr"))]
        if name in AGENTS:
            assert [line.partition("=")[0] for line in told] == ["ExecStartPost"]
            continue
        assert told == ([f"StandardInput=file:{head_paths.ACCOUNT_KEY}"] if name == CLOUD else [])
        assert not re.search(r"(?i)token=|secret|password", unit_text(name))
    assert Unit(CLOUD).get("Service", "LimitCORE") == "0"
    assert not Unit(CLOUD).has_option("Service", "EnvironmentFile")


def test_paths_are_those_of_the_head() -> None:
    text = "\n".join(map(unit_text, UNITS))
    for path in (
        head_paths.CODE,
        head_paths.PYTHON,
        head_paths.DAEMON_SETTINGS,
        head_paths.OVERLAY_SETTINGS,
        head_paths.HEAD_SETTINGS,
        head_paths.HEAD_ENVIRONMENT,
        head_paths.FIREWALL,
        head_paths.CLOUD_STATE,
        head_paths.OVERLAY_FOLDER,
        head_paths.SOCKET,
        head_paths.RAY_HOME,
    ):
        assert re.search(rf"{re.escape(str(path))}(?![\w./]*\w\.service)", text), path


def test_ray_user_gains_nothing_by_code_that_a_worker_sends() -> None:
    assert Unit(HEAD).get("Service", "NoNewPrivileges") == "yes"
    # /tmp/ray is where Ray's commands and the driver look.
    assert not Unit(HEAD).has_option("Service", "PrivateTmp")
    assert "/tmp" in Unit(HEAD).words("Service", "ReadWritePaths")


SHUT_IN = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
}


@pytest.mark.parametrize("name", [HEAD, SWEEP])
def test_what_reads_workers_messages_is_shut_in(name: str) -> None:
    unit = Unit(name)
    assert {key: unit.get("Service", key, fallback="?") for key in SHUT_IN} == SHUT_IN
    always = (head_paths.ACCOUNT_KEY, head_paths.CLOUD_STATE, "/root", "/run/user")
    hidden = {f"-{path}" for path in always}
    # Without a minus: a unit that could not hide this one would not start.
    hidden |= {str(head_paths.STORE_AGENT.parent)} if name == HEAD else set()
    assert hidden == set(unit.words("Service", "InaccessiblePaths"))


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_serves_one_key_and_does_nothing_else(name: str) -> None:
    unit, (socket, key) = Unit(name), AGENTS[name]
    assert unit.get("Service", "ExecStart") == f"/usr/bin/ssh-agent -D -P none -a {socket}"
    adds = unit.get("Service", "ExecStartPost")
    assert adds.startswith("+")
    assert f"ssh-add -q {head_paths.OVERLAY_FOLDER / key};" in adds
    assert unit.words("Service", "ReadWritePaths") == [str(socket.parent)]
    shut_in = SHUT_IN | {"RestrictAddressFamilies": "AF_UNIX", "PrivateNetwork": "yes"}
    assert {key: unit.get("Service", key, fallback="?") for key in shut_in} == shut_in
    assert unit.get("Service", "LimitCORE") == "0"


@pytest.mark.parametrize(("name", "folders"), [(HEAD, RAY_WRITES), (SWEEP, SWEEP_WRITES)])
def test_who_writes_where_in_the_home(name: str, folders: tuple[str, ...]) -> None:
    # Nowhere else: what a login of the user reads would outlive the cluster.
    assert Unit(name).get("Service", "ProtectHome") == "read-only"
    written = set(Unit(name).words("Service", "ReadWritePaths"))
    in_home = {path for path in written if path.startswith(str(head_paths.RAY_HOME))}
    assert in_home == {str(head_paths.RAY_HOME / folder) for folder in folders}
    assert written - in_home == {"/tmp", "-/var/tmp"}
    # The unit does not start where one of them is missing: installation makes them.
    assert not any(path.startswith("-/home") for path in written)


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze; apt-get install systemd"
)
@pytest.mark.parametrize("name", [*AGENTS, CLOUD, HEAD, SWEEP])
def test_systemd_finds_little_exposure(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(unit_text(name), "utf-8")
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=40", "--no-pager"]
    done = subprocess.run([*words, tmp_path / name], capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze looks at running services alone")
    assert done.returncode == 0, [*done.stdout.splitlines()[-1:], done.stderr]


def test_the_head_carries_what_the_autoscaler_knows_it_by() -> None:
    lines = head_environment("mine", "head-type").splitlines()
    assert "RAY_CLOUD_INSTANCE_ID=mine-head" in lines
    assert "RAY_NODE_TYPE_NAME=head-type" in lines
    assert "RAY_enable_autoscaler_v2=1" in lines
    with pytest.raises(ValueError, match="the cluster's name is 'a\\\\nb=c'"):
        head_environment("a\nb=c", "head")


def test_a_unit_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ValueError, match="unknown unit 'stellux-head'; expected one of stellux-fire"
    ):
        unit_text("stellux-head")


@pytest.mark.skipif(shutil.which("visudo") is None, reason="no visudo; apt-get install sudo")
def test_sudo_takes_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules"
    path.write_text(sudoers(), "utf-8")
    path.chmod(0o440)
    done = subprocess.run(
        ["visudo", "-c", "-f", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ray_user_may_do_nothing_else() -> None:
    rules = [line for line in sudoers().splitlines() if not line.startswith("#")]
    assert all(
        re.fullmatch(r"stellux ALL=\(root\) NOPASSWD: /[\w/]+/(systemctl|journalctl) .*", one)
        for one in rules
    )
    commands = {rule.partition("ctl ")[2] for rule in rules}
    assert not any(set(command) & set("*?[!,") for command in commands)
    assert {command.split()[-1] for command in commands} == {"stellux-head", "stellux-sweep"}
    assert "disable stellux-head" not in commands
    # Without a pager, which could start a shell.
    journal = {rule.partition("journalctl ")[2] for rule in rules if "journalctl" in rule}
    assert journal == {"--no-pager -o cat -n 20 -u stellux-head"}


@pytest.mark.parametrize("ports", [[], [0], [65_536], [True]])
def test_a_firewall_that_locks_everybody_out_is_refused(ports: list[int]) -> None:
    with pytest.raises(ValueError, match="SSH port"):
        firewall_rules(ports)


needs_nft = pytest.mark.skipif(
    shutil.which("nft") is None
    or os.geteuid() != 0
    or subprocess.run(
        ["unshare", "-n", "nft", "list", "ruleset"], capture_output=True, check=False
    ).returncode
    != 0,
    reason="needs root, nft and a kernel with nftables; apt-get install nftables",
)


@needs_nft
def test_the_firewall_lets_ssh_in_and_nothing_else(tmp_path: Path) -> None:
    rules = tmp_path / "firewall.nft"
    rules.write_text(firewall_rules([2222, 22]), "utf-8")
    # The head is in one network of its own and who knocks in another, which end with the script.
    script = f"""
set -e
ip link set lo up
unshare -n sleep 30 & outside=$!
trap 'kill $outside' EXIT
until [ "$(readlink /proc/$outside/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
ip link add inner type veth peer name outer netns $outside
ip addr add 10.9.9.1/24 dev inner; ip link set inner up
ip addr add fd99::1/64 dev inner nodad
nsenter -t $outside -n ip addr add 10.9.9.2/24 dev outer
nsenter -t $outside -n ip addr add fd99::2/64 dev outer nodad
nsenter -t $outside -n ip link set outer up
nft add table inet theirs
nft -c -f {rules}
nft -f {rules}
nft -f {rules}
nft list tables
python3 -c '
import socket, subprocess, sys
ports = (22, 2222, 6379)
both = dict(family=socket.AF_INET6, dualstack_ipv6=True)
listening = [socket.create_server(("::", port), **both) for port in ports]
knock = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5)"
for host, port in [(host, port) for host in ("10.9.9.1", "fd99::1") for port in ports]:
    enter = ["nsenter", "-t", sys.argv[1], "-n"]
    done = subprocess.run([*enter, sys.executable, "-c", knock, host, str(port)], stderr=-3)
    print(host, port, "open" if done.returncode == 0 else "shut")
for host in ("127.0.0.1", "::1"):
    socket.create_connection((host, 6379), 5)
print("loopback open")
' $outside
nft delete table inet stellux
nft list tables
"""
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.stdout.splitlines(), done.returncode) == (
        [
            "table inet theirs",
            "table inet stellux",
            "10.9.9.1 22 open",
            "10.9.9.1 2222 open",
            "10.9.9.1 6379 shut",
            "fd99::1 22 open",
            "fd99::1 2222 open",
            "fd99::1 6379 shut",
            "loopback open",
            "table inet theirs",
        ],
        0,
    ), done.stderr


def test_what_else_the_machine_serves_stays_open_if_it_is_named() -> None:
    rules = firewall_rules([22], "80/tcp, 51820/udp")
    assert "tcp dport { 22, 80 } accept" in rules
    assert "udp dport { 51820 } accept" in rules
    for wrong in ("80", "0/tcp", "70000/tcp", "80/tcp;drop"):
        with pytest.raises(ValueError, match=r"provider\.head\.open_ports has"):
            firewall_rules([22], wrong)
