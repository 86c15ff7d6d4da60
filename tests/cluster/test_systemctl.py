"""The script that plays systemd does what the project's units count on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tune_app.cloud.daemon.daemons import until

SCRIPT = Path(__file__).parent / "systemctl.py"

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(
        not Path("/proc/self/stat").exists(), reason="processes are found in /proc, on Linux alone"
    ),
]


class Machine:
    """Units, what they wrote, and systemctl, all in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units = folder / "units"
        self.units.mkdir()
        names = {"UNITS": "units", "RUN": "run", "LOGS": "log", "RUNTIME": "rt", "STATE": "state"}
        self._environment = os.environ | {
            f"SYSTEMCTL_{name}": str(folder / path) for name, path in names.items()
        }

    def unit(self, name: str, service: str, *, unit: str = "", enabled: bool = False) -> None:
        text = f"[Unit]\n{unit}\n[Service]\n{service}\n[Install]\nWantedBy=multi-user.target\n"
        (self.units / f"{name}.service").write_text(text.replace("FOLDER", str(self.folder)))
        if enabled:
            self("enable", name)

    def __call__(self, *words: str, code: int = 0, program: str = "systemctl") -> str:
        link = self.folder / program
        if not link.exists():
            link.symlink_to(SCRIPT)
        done = subprocess.run(
            [sys.executable, str(link), *words],
            check=False,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr, self.logs())
        return done.stdout + done.stderr

    def show(self, name: str, what: str) -> str:
        return self("show", name, "-p", what, "--value").strip()

    def main(self, name: str) -> int:
        return int(self.show(name, "MainPID"))

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text("utf-8") if path.exists() else ""

    def logs(self) -> str:
        found = [*self.folder.glob("log/*"), *self.folder.glob("run/*.trouble")]
        return "\n".join(f"{path.name}: {path.read_text()}" for path in found)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for path in made.units.glob("*.service"):
        made("stop", path.name)


def runs(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def test_a_killed_service_is_started_again(machine: Machine) -> None:
    machine.unit("a", "ExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=50ms")
    machine("start", "a")
    first = machine.main("a")
    os.kill(first, signal.SIGKILL)
    until(lambda: machine.main("a") not in {0, first}, why=machine.logs)
    assert machine.show("a", "NRestarts") == "1"
    assert machine("is-active", "a").strip() == "active"


def test_a_service_that_fails_at_once_is_given_up_unless_its_unit_says_never(
    machine: Machine,
) -> None:
    fails = "ExecStart=/bin/sh -c 'echo x >> FOLDER/{0}; exit 1'\nRestart=always\nRestartSec=1ms"
    machine.unit("given-up", fails.format("given-up"))
    machine.unit("never", fails.format("never"), unit="StartLimitIntervalSec=0")
    machine("start", "given-up", "never")
    until(lambda: machine.show("given-up", "Result") == "start-limit-hit", why=machine.logs)
    assert machine.read("given-up") == "x\n" * 5
    until(lambda: len(machine.read("never").splitlines()) > 8, why=machine.logs)


def test_stop_takes_grandchildren_along_also_those_that_left_the_session(machine: Machine) -> None:
    leaves = "setsid sh -c 'sleep 1000 & echo $! > FOLDER/grandchild; wait' & sleep 1000"
    script = machine.folder / "script"
    script.write_text(leaves.replace("FOLDER", str(machine.folder)))
    machine.unit("a", "ExecStart=/bin/sh FOLDER/script")
    machine("start", "a")
    until(lambda: machine.read("grandchild").endswith("\n"), why=machine.logs)
    grandchild, main = int(machine.read("grandchild")), machine.main("a")
    assert runs(grandchild)
    machine("stop", "a")
    assert not runs(grandchild)
    assert not runs(main)
    assert machine("is-active", "a", code=3).strip() == "inactive"


def test_what_ignores_sigterm_is_killed_after_its_time(machine: Machine) -> None:
    machine.unit(
        "a",
        "ExecStart=/bin/sh -c 'trap \"\" TERM; echo > FOLDER/up; while :; do sleep 0.05; done'\n"
        "TimeoutStopSec=300ms",
    )
    machine("start", "a")
    until((machine.folder / "up").exists)
    main = machine.main("a")
    machine("stop", "a")
    assert not runs(main)
    assert machine.show("a", "Result") == "timeout"


def test_kill_mode_process_leaves_the_others_alone(machine: Machine) -> None:
    machine.unit(
        "a",
        "ExecStart=/bin/sh -c 'sleep 1000 & echo $$! > FOLDER/session; exec sleep 1000'\n"
        "KillMode=process\nRestart=always\nRestartSec=20ms",
    )
    machine("start", "a")
    until(lambda: machine.read("session").endswith("\n"), why=machine.logs)
    session = int(machine.read("session"))
    machine("stop", "a")
    try:
        assert runs(session)
    finally:
        os.kill(session, signal.SIGKILL)


def test_boot_starts_what_is_enabled_in_its_order(machine: Machine) -> None:
    for name, unit in (
        ("a-last", "After=m-second.service\nRequires=m-second.service"),
        ("m-second", "After=z-first.service absent.service network.target\nWants=absent.service"),
        ("z-first", ""),
        ("off", ""),
    ):
        machine.unit(
            name,
            f"Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'sleep 0.05; echo {name} >> "
            "FOLDER/order'",
            unit=unit,
            enabled=name not in {"off", "m-second"},
        )
    machine("disable", "off")
    machine("boot")
    assert machine.read("order").split() == ["z-first", "m-second", "a-last"]
    assert machine.show("a-last", "SubState") == "exited"
    machine("disable", "z-first")
    assert machine("is-enabled", "z-first", code=1).strip() == "disabled"
    machine("stop", "z-first", "m-second", "a-last")
    machine("boot")
    # m-second is required by a-last, and z-first by nobody.
    assert machine.read("order").split()[3:] == ["m-second", "a-last"]


def test_what_requires_a_unit_does_not_start_without_it_and_ends_with_it(machine: Machine) -> None:
    machine.unit("wall", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/test -e FOLDER/ok")
    machine.unit(
        "ray", "ExecStart=/bin/sleep 1000", unit="Requires=wall.service\nAfter=wall.service"
    )
    assert "a dependency failed: wall.service" in machine("start", "ray", code=1)
    (machine.folder / "ok").touch()
    machine("start", "ray")
    machine("stop", "wall")
    machine("is-active", "ray", code=3)


def test_input_environment_and_output_are_as_the_unit_says(machine: Machine) -> None:
    (machine.folder / "key").write_text("secret\n")
    (machine.folder / "env").write_text('# a comment\nONE=1 and more\nTWO="two"\n')
    script = machine.folder / "script"
    script.write_text('read key; echo "$key|$ONE|$TWO|$THREE|$HIDDEN|$1"; echo trouble >&2\n')
    machine.unit(
        "a",
        "Type=oneshot\nStandardInput=file:FOLDER/key\nEnvironmentFile=FOLDER/env\n"
        "EnvironmentFile=-FOLDER/absent\nEnvironment=THREE=3 'FOUR=a b'\n"
        "ExecStart=/bin/sh FOLDER/script ${FOUR}",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(machine._environment, "HIDDEN", "of who started it")
        machine("start", "a")
    assert machine("-n", "5", "-u", "a", program="journalctl") == (
        "secret|1 and more|two|3||a b\ntrouble\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs services as other users")
def test_a_service_is_its_user_and_gains_nothing(machine: Machine) -> None:
    machine.unit(
        "a",
        "Type=oneshot\nUser=nobody\nGroup=nogroup\nSupplementaryGroups=daemon\nUMask=0027\n"
        "NoNewPrivileges=yes\nLimitCORE=0\n"
        "ExecStartPre=+/bin/sh -c 'id -un'\n"
        "ExecStart=/bin/sh -c 'id -un; id -Gn; umask; ulimit -Hc; echo $$USER; "
        "grep NoNewPrivs /proc/self/status'",
    )
    machine("start", "a")
    assert machine("-u", "a", program="journalctl").split() == (
        ["root", "nobody", "nogroup", "daemon", "0027", "0", "nobody", "NoNewPrivs:", "1"]
    )


@pytest.mark.skipif(
    os.geteuid() != 0
    or subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode,
    reason="needs root, and a kernel or container that lets it mount",
)
def test_a_service_writes_only_where_its_unit_lets_it(machine: Machine) -> None:
    (machine.folder / "home" / "own").mkdir(parents=True)
    writes = "for name in home/own/a home/b home/own/../c d; do echo x >FOLDER/$name; done"
    (machine.folder / "script").write_text(writes.replace("FOLDER", str(machine.folder)))
    paths = "ReadOnlyPaths=FOLDER/home -FOLDER/absent\nReadWritePaths=FOLDER/home/own FOLDER\n"
    once = f"Type=oneshot\nRemainAfterExit=yes\n{paths}"
    outside = "ExecStartPost=+/bin/sh -c 'echo x >FOLDER/home/by-root'"
    machine.unit("a", f"{once}ExecStart=/bin/sh FOLDER/script\n{outside}")
    machine("start", "a")
    assert machine.read("home/own/a") == machine.read("d") == "x\n"
    assert machine.read("home/by-root") == "x\n"
    assert machine.logs().count("Read-only file system") == 2
    assert sorted(path.name for path in (machine.folder / "home").iterdir()) == ["by-root", "own"]
    machine.unit("b", "ReadOnlyPaths=FOLDER/absent\nExecStart=/bin/true")
    machine("start", "b")
    until(lambda: machine.show("b", "ExecMainStatus") == "226", why=machine.logs)


def test_a_runtime_folder_comes_and_goes_with_its_service(machine: Machine) -> None:
    machine.unit("a", "RuntimeDirectory=mine\nRuntimeDirectoryMode=0750\nExecStart=/bin/sleep 1000")
    machine("start", "a")
    until((machine.folder / "rt" / "mine").exists)
    until(lambda: (machine.folder / "rt" / "mine").stat().st_mode & 0o777 == 0o750)
    machine("stop", "a")
    assert not (machine.folder / "rt" / "mine").exists()


@pytest.mark.parametrize(("code", "started"), [(0, 1), (2, 1), (7, 3)])
def test_an_exit_code_may_forbid_another_start(machine: Machine, code: int, started: int) -> None:
    script = machine.folder / "script"
    script.write_text(
        f"echo x >> {machine.folder}/starts\n"
        f"[ $(wc -l < {machine.folder}/starts) -lt 3 ] && exit {code}\nexit 0\n"
    )
    machine.unit(
        "a",
        "ExecStart=/bin/sh FOLDER/script\nRestart=on-failure\nRestartPreventExitStatus=2\n"
        "RestartSec=20ms",
    )
    machine("start", "a")
    ended = {0: "inactive", 2: "failed", 7: "inactive"}[code]
    until(lambda: machine.show("a", "ActiveState") == ended, why=machine.logs)
    assert machine.read("starts") == "x\n" * started


def test_what_runs_before_and_after(machine: Machine) -> None:
    machine.unit(
        "a",
        "ExecStartPre=-/bin/false\nExecStartPre=+/bin/sh -c 'echo pre >> FOLDER/order'\n"
        "ExecStart=/bin/sleep 1000\nExecStartPost=/bin/sh -c 'echo post >> FOLDER/order'\n"
        "ExecStop=/bin/sh -c 'kill -0 $$MAINPID && echo stop >> FOLDER/order'\n"
        "ExecStopPost=/bin/sh -c 'echo gone $$SERVICE_RESULT >> FOLDER/order'",
    )
    machine("start", "a")
    machine("stop", "a")
    assert machine.read("order").splitlines() == ["pre", "post", "stop", "gone success"]
    machine.unit("b", "ExecStartPre=/bin/false\nExecStart=/bin/sh -c 'echo b >> FOLDER/order'")
    machine("start", "b", code=1)
    assert "b" not in machine.read("order").splitlines()


def test_what_can_be_reloaded_is_not_restarted(machine: Machine) -> None:
    told = "ExecStart=/bin/sh -c 'echo up >> FOLDER/{0}'\n"
    once = "Type=oneshot\nRemainAfterExit=yes\nExecStop=/bin/sh -c 'echo down >> FOLDER/{0}'\n"
    machine.unit(
        "a", (once + told + "ExecReload=/bin/sh -c 'echo again >> FOLDER/{0}'").format("a")
    )
    machine.unit("b", (once + told).format("b"))
    for _ in range(2):
        machine("reload-or-restart", "a", "b")
    assert machine.read("a").split() == ["up", "again"]
    assert machine.read("b").split() == ["up", "down", "up"]


def test_what_it_cannot_play_is_an_error(machine: Machine) -> None:
    assert "Unit nobody.service not found" in machine("start", "nobody", code=5)
    assert machine("show", "nobody", "-p", "LoadState", "--value").strip() == "not-found"
    machine.unit("a", "ExecStart=/bin/true\nWatchdogSec=5")
    assert "cannot play 'WatchdogSec=5'" in machine("start", "a", code=1)
    (machine.units / "a.service").unlink()


def test_the_projects_units_can_be_played(machine: Machine) -> None:
    from tune_app.cloud.head.units import UNITS, unit_text

    for name in UNITS:
        (machine.units / name).write_text(unit_text(name))
    machine("daemon-reload")
    for name in UNITS:
        assert machine("is-enabled", name, code=1).strip() == "disabled"
