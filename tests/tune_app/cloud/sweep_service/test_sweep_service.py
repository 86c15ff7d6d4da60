"""A sweep as a service goes on over deaths, reboots and restarts of Ray."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.cloud.daemon.daemons import ROOT, until
from tune_app.cloud import driver as former
from tune_app.cloud.sweep_service import commands
from tune_app.cloud.sweep_service.service import (
    follow_sweep,
    newest_journal,
    show_status,
    start_sweep,
    stop_sweep,
)
from tune_app.cloud.sweep_service.supervisor import (
    FAILURES,
    GIVEN_UP,
    KILLS,
    MISTAKES,
    RAY_SILENT,
    SweepFiles,
    SweepSupervisor,
    checked_arguments,
    verdict,
)
from tune_app.sweep.folder import JOURNAL

pytestmark = pytest.mark.services

SYSTEMCTL = ROOT / "tests" / "cluster" / "systemctl.py"
PRETENDED = "tests.tune_app.cloud.sweep_service.pretend_sweep"

UNIT = """\
[Service]
WorkingDirectory=FOLDER
Environment=PATH=FOLDER/bin:/usr/bin:/bin PYTHONPATH=ROOT HOME=FOLDER ENVIRONMENT
ExecStart=PYTHON FOLDER/service.py
Restart=on-failure
RestartPreventExitStatus=2 3
RestartSec=50ms
KillMode=mixed
[Unit]
StartLimitIntervalSec=0
[Install]
WantedBy=multi-user.target
"""

SERVICE = """\
from pathlib import Path
import sys
from tune_app.cloud.sweep_service.service import run_service
from tune_app.cloud.sweep_service.supervisor import SweepSupervisor, SweepFiles

folder = Path(__file__).parent
files = SweepFiles(folder=folder / "files")
sys.exit(run_service(files, lambda: SweepSupervisor(
    files=files, started=folder / "started",
    ray=("127.0.0.1", PORT), home=folder, module="PRETENDED",
    pause_s=0.05, look_s=0.05, steady_s=0.2,
)))
"""


class Place:
    """A head's files, a Ray that only answers, and a sweep that does as its plan says."""

    def __init__(self, folder: Path, ray: socket.socket) -> None:
        self.folder = folder
        self.files = SweepFiles(folder=folder / "files")
        self.port: int = ray.getsockname()[1]
        self.ray_starts()

    def ray_starts(self) -> None:
        (self.folder / "fresh").write_text(str(time.monotonic_ns()), "utf-8")
        (self.folder / "fresh").replace(self.folder / "started")

    def plan(self, *steps: str) -> None:
        (self.folder / "plan").write_text("\n".join(steps), "utf-8")

    @property
    def runs(self) -> list[list[str]]:
        path = self.folder / "runs"
        text = path.read_text("utf-8") if path.exists() else ""
        return [line.split() for line in text.splitlines()]

    def pid(self, run: int) -> int:
        return int(self.runs[run][0])

    def supervisor(self, **more: Any) -> SweepSupervisor:
        self.files.write_job([str(self.folder), "--tokens", "5M"])
        quick: dict[str, Any] = {"pause_s": 0.01, "look_s": 0.02, "steady_s": 0.2, "ray_s": 5.0}
        return SweepSupervisor(
            files=self.files,
            started=self.folder / "started",
            ray=("127.0.0.1", self.port),
            home=self.folder,
            module=PRETENDED,
            **quick | {"variables": {"PYTHONPATH": str(ROOT)}} | more,
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with socket.create_server(("127.0.0.1", 0)) as ray:
        yield Place(tmp_path, ray)


class Running:
    """A driver in a thread."""

    def __init__(self, driver: SweepSupervisor) -> None:
        self.ended = threading.Event()
        self.code: int | None = -1
        self._driver = driver
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = self._driver.run(self.ended)

    def join(self) -> int | None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.code


def test_a_sweep_that_is_through_is_not_run_again(place: Place) -> None:
    place.plan("0")
    assert place.supervisor().run(threading.Event()) == 0
    assert [run[1:] for run in place.runs] == [
        [str(place.folder), "--tokens", "5M", "--address", "auto"]
    ]
    end = place.files.read_end()
    assert end is not None
    assert end.reason == "the sweep is complete"


def test_what_is_refused_is_not_tried_again(place: Place) -> None:
    place.plan("2")
    assert place.supervisor().run(threading.Event()) == 2
    assert len(place.runs) == 1


def test_who_was_refused_while_ray_died_is_not_refused(place: Place) -> None:
    place.plan("2", "0")
    running = Running(place.supervisor(steady_s=5.0))
    until(lambda: len(place.runs) == 1)
    # As a head does that starts Ray afresh.
    (place.folder / "started").unlink()
    time.sleep(0.2)
    place.ray_starts()
    assert running.join() == 0
    assert len(place.runs) == 2


def test_what_trained_before_is_not_refused_by_a_store_that_is_away(place: Place) -> None:
    place.plan("1", "2", "2", "0")
    assert place.supervisor().run(threading.Event()) == 0
    assert len(place.runs) == 4


def test_a_sweep_that_fails_again_and_again_is_given_up(place: Place) -> None:
    place.plan(*["1"] * 5)
    assert place.supervisor().run(threading.Event()) == GIVEN_UP
    assert len(place.runs) == FAILURES


def test_a_killed_sweep_is_run_again(place: Place) -> None:
    place.plan(*["wait"] * 5, "0")
    running = Running(place.supervisor())
    for run in range(5):
        until(lambda: len(place.runs) > run)  # noqa: B023
        os.kill(place.pid(run), signal.SIGKILL)
    assert running.join() == 0
    assert len(place.runs) == 6


def test_a_sweep_that_is_killed_again_and_again_is_given_up(place: Place) -> None:
    place.plan(*["die"] * (KILLS + 1))
    assert place.supervisor(pause_s=0.001).run(threading.Event()) == GIVEN_UP
    assert len(place.runs) == KILLS
    end = place.files.read_end()
    assert end is not None
    assert end.reason == (
        "it failed 8 times while Ray ran; the last time it was ended by SIGKILL, "
        "as when the head runs out of memory"
    )


def test_after_a_good_run_the_failures_are_counted_anew(place: Place) -> None:
    place.plan(*["1"] * FAILURES * 2, "0")
    assert place.supervisor(good_s=0.0).run(threading.Event()) == 0
    assert len(place.runs) == FAILURES * 2 + 1


def test_a_restart_of_ray_forgives_no_failure(place: Place) -> None:
    place.plan("1", "lost", "1", "lost", "1", "0")
    assert place.supervisor().run(threading.Event()) == GIVEN_UP
    assert len(place.runs) == 5


@pytest.mark.parametrize("first", ["wait", "deaf"])
def test_a_restart_of_ray_begins_the_sweep_again(place: Place, first: str) -> None:
    place.plan(first, "0")
    running = Running(place.supervisor(lost_s=0.5))
    until(lambda: place.files.log.exists() and f"run 1: {first}" in place.files.log.read_text())
    time.sleep(0.1)
    place.ray_starts()
    assert running.join() == 0
    assert len(place.runs) == 2
    assert (place.folder / "saved").exists() == (first == "wait")


def test_a_failure_is_not_counted_when_ray_was_lost(place: Place) -> None:
    place.plan(*["lost"] * FAILURES * 2, "0")
    assert place.supervisor().run(threading.Event()) == 0
    assert len(place.runs) == FAILURES * 2 + 1


def test_told_to_stop_it_lets_the_sweep_save(place: Place) -> None:
    place.plan("wait")
    running = Running(place.supervisor())
    until(lambda: place.files.log.exists() and "run 1: wait" in place.files.log.read_text())
    time.sleep(0.1)
    running.ended.set()
    assert running.join() is None
    assert (place.folder / "saved").exists()
    assert place.files.read_end() is None


def test_a_ray_that_does_not_answer_is_not_waited_for_for_ever(place: Place) -> None:
    (place.folder / "started").unlink()
    place.plan("0")
    assert place.supervisor(ray_s=0.2).run(threading.Event()) == RAY_SILENT
    assert place.runs == []


def test_a_sweep_that_was_saved_goes_on_when_the_cluster_does(place: Place) -> None:
    place.plan("75", "0")
    answers = iter(["the cap is near", "the cap is near", ""])
    supervisor = place.supervisor(drains=lambda: next(answers), drains_s=0.01)
    assert supervisor.run(threading.Event()) == 0
    assert len(place.runs) == 2
    assert next(answers, None) is None


def test_a_sweep_that_has_spent_its_own_dollars_is_not_run_again(place: Place) -> None:
    place.plan("75")
    assert place.supervisor().run(threading.Event()) == 75
    end = place.files.read_end()
    assert end is not None
    assert "start it with a higher one" in end.reason


def test_verdicts_say_why() -> None:
    def why(code: int, failures: int = 0, ray_restarted: bool = False) -> str:
        found = verdict(code, failures=failures, ray_restarted=ray_restarted, accepted=True)
        return f"{'again' if found.again else found.code}: {found.reason}"

    assert why(0) == "0: the sweep is complete"
    assert why(1) == "again: it failed with exit code 1, 1 of at most 3 times"
    assert why(1, FAILURES - 1).startswith("3: it failed 3 times while Ray ran")
    assert why(1, FAILURES - 1, ray_restarted=True).startswith("again: Ray restarted")
    refused = verdict(2, failures=0, ray_restarted=True, accepted=False)
    assert refused.again, "a sweep without its Ray ends like one that is refused"
    assert why(-9).startswith("again: it was ended by SIGKILL")
    assert why(-9, KILLS - 1).startswith("3: ")
    assert why(-15, 99) == "again: it was ended by SIGTERM, not through its service"
    assert why(130, 99) == "again: it was ended by an interruption, not through its service"
    assert why(-40) == "again: it was ended by signal 40, 1 of at most 8 times"
    assert why(2, MISTAKES - 2).startswith("again")
    assert why(2, MISTAKES - 1).startswith("3: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "quick"], "'status' is not a sweep"),
        (["quick", "--address", "auto"], "--address is set by the cluster"),
        (["quick", "--address=auto"], "--address is set by the cluster"),
    ],
)
def test_what_is_no_sweep_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        checked_arguments(arguments)


class Head(Place):
    """With systemd, played by a script, and sudo."""

    def __init__(self, folder: Path, ray: socket.socket, patch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, ray)
        self.code = -1
        self.refused: list[str] = []
        tools, units = folder / "bin", folder / "units"
        tools.mkdir()
        units.mkdir()
        names = {"UNITS": "units", "RUN": "run", "LOGS": "log"}
        variables = {f"SYSTEMCTL_{name}": str(folder / path) for name, path in names.items()}
        for name, text in (
            ("sudo", 'printf "%s\\n" "$*" >> FOLDER/sudo\n[ "$1" = -n ] && shift\nexec "$@"'),
            ("systemctl", f'exec {sys.executable} {SYSTEMCTL} "$@"'),
        ):
            script = tools / name
            script.write_text(f"#!/bin/sh\n{text}\n".replace("FOLDER", str(folder)), "utf-8")
            script.chmod(0o755)
        values = {
            "FOLDER": str(folder),
            "ROOT": str(ROOT),
            "PYTHON": sys.executable,
            "ENVIRONMENT": " ".join(f"{name}={value}" for name, value in variables.items()),
            "PORT": str(self.port),
            "PRETENDED": PRETENDED,
        }
        for path, text in (
            (units / "stellux-sweep.service", UNIT),
            (folder / "service.py", SERVICE),
        ):
            for name, value in values.items():
                text = text.replace(name, value)  # noqa: PLW2901
            path.write_text(text, "utf-8")
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")

    def systemctl(self, *words: str) -> str:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def main(self) -> int:
        return int(self.systemctl("show", "stellux-sweep", "-p", "MainPID", "--value"))

    def power_cut(self) -> None:
        """Nothing is left running, and nobody is told."""
        state = json.loads((self.folder / "run" / "stellux-sweep.service.json").read_text())
        for pid in (state["supervisor"], state["MainPID"], self.pid(-1)):
            os.kill(pid, signal.SIGKILL)

    def start(self) -> threading.Thread:
        def work() -> None:
            try:
                self.code = start_sweep(self.files, (str(self.folder),))
            except ValueError as error:
                self.refused.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        return thread


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    with socket.create_server(("127.0.0.1", 0)) as ray:
        made = Head(tmp_path, ray, monkeypatch)
        yield made
        made.systemctl("stop", "stellux-sweep")


def test_who_starts_a_sweep_sees_it_to_its_end(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    head.plan("1", "0")
    assert start_sweep(head.files, (str(head.folder), "--tokens", "5M")) == 0
    said = capsys.readouterr().out
    assert "you may leave" in said
    assert said.index("run 1: 1") < said.index("running it again") < said.index("run 2: 0")
    assert said.index("run 2: 0") < said.index("the last one has ended: the sweep is complete")
    assert said.splitlines()[-1] == "  ray down cluster.yaml"
    # The service itself asks root for nothing; after a reboot it sees that its sweep has ended.
    assert (head.folder / "sudo").read_text().splitlines() == [
        "-n systemctl enable --now stellux-sweep"
    ]
    head.systemctl("boot")
    until(lambda: head.systemctl("is-active", "stellux-sweep") == "inactive")
    assert len(head.runs) == 2


def test_it_goes_on_after_a_killed_driver_and_a_reboot(head: Head) -> None:
    head.plan("wait", "wait", "wait")
    following = head.start()
    until(lambda: len(head.runs) == 1)
    os.kill(head.main(), signal.SIGKILL)
    until(lambda: len(head.runs) == 2)
    head.power_cut()
    following.join(20)
    head.systemctl("boot")
    until(lambda: len(head.runs) == 3)
    assert head.systemctl("is-enabled", "stellux-sweep") == "enabled"
    (head.folder / "finish").touch()
    until(lambda: head.systemctl("is-active", "stellux-sweep") == "inactive")


def test_a_second_sweep_is_refused_and_the_first_one_stopped(head: Head) -> None:
    head.plan("wait", "wait")
    following = head.start()
    until(lambda: len(head.runs) == 1)
    with pytest.raises(ValueError, match=f"a sweep runs already: .* {head.folder}; see it with"):
        start_sweep(head.files, ("quick",))
    out = io.StringIO()
    assert show_status(head.files, out) == 0
    assert "run 1: wait" in out.getvalue()
    assert stop_sweep(head.files, out) == 0
    assert (head.folder / "saved").exists()
    assert f"Continue it with: python -m tune_app.cloud start {head.folder}" in (out.getvalue())
    following.join(20)
    assert head.systemctl("is-enabled", "stellux-sweep") == "disabled"
    assert show_status(head.files, out) == 3
    with pytest.raises(ValueError, match="no sweep runs"):
        follow_sweep(head.files, out)


def test_of_two_that_start_at_once_one_is_refused(head: Head) -> None:
    head.plan("wait", "wait")
    following = [head.start() for _ in range(2)]
    until(lambda: len(head.refused) == 1)
    assert "a sweep runs already" in head.refused[0]
    until(lambda: len(head.runs) == 1)
    assert not head.files.log.with_name("sweep.log.1").exists(), "the first one's log stays"
    (head.folder / "finish").touch()
    for thread in following:
        thread.join(20)
    assert head.code == 0
    assert len(head.runs) == 1


def test_a_driver_that_cannot_run_says_so_where_people_look(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    # As a job that another version wrote.
    service = head.folder / "service.py"
    damage = 'files.job.write_text("{}")\nsys.exit('
    service.write_text(service.read_text("utf-8").replace("sys.exit(", damage, 1), "utf-8")
    assert start_sweep(head.files, (str(head.folder),)) == 2
    said = capsys.readouterr().out
    assert "its supervisor cannot run: " in said
    assert "sweep.json is damaged" in said.splitlines()[-1]


def test_a_driver_that_is_gone_for_good_is_no_success(head: Head) -> None:
    head.plan("wait")
    unit = head.folder / "units" / "stellux-sweep.service"
    unit.write_text(unit.read_text("utf-8").replace("on-failure", "no"), "utf-8")
    following = head.start()
    until(lambda: len(head.runs) == 1)
    os.kill(head.main(), signal.SIGKILL)
    following.join(20)
    assert head.code == 1
    out = io.StringIO()
    assert show_status(head.files, out) == 3
    assert "the supervisor of the last one failed" in out.getvalue()
    assert f"start {head.folder}" in out.getvalue()


def test_ctrl_c_ends_the_following_alone(head: Head) -> None:
    head.plan("wait")
    program = (
        "import sys; from pathlib import Path; "
        "from tune_app.cloud.sweep_service.service import start_sweep; "
        "from tune_app.cloud.sweep_service.supervisor import SweepFiles; "
        f"sys.exit(start_sweep(SweepFiles(folder=Path({str(head.files.folder)!r})), "
        f"({str(head.folder)!r},)))"
    )
    # In a session of its own, as a terminal's Ctrl-C reaches all of one.
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        until(lambda: len(head.runs) == 1)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    left = said.partition("The sweep continues.")[2]
    assert "  python -m tune_app.cloud follow " in left
    assert head.systemctl("is-active", "stellux-sweep") == "active"
    assert not (head.folder / "saved").exists()


def test_the_status_shows_the_cells_of_the_sweep_that_runs(head: Head) -> None:
    head.plan("wait")
    following = head.start()
    until(lambda: len(head.runs) == 1)

    def status() -> str:
        out = io.StringIO()
        assert show_status(head.files, out, home=head.folder, module=PRETENDED) == 0
        return out.getvalue()

    # Of a sweep before this one.
    earlier = head.folder / "runs-of-all" / "earlier" / JOURNAL
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    os.utime(earlier, (1.0, 1.0))
    assert "its cells have not started yet" in status()
    head.files.write_job([str(head.folder), "--results=runs-of-all"])
    mine = earlier.parent.with_name("mine") / JOURNAL
    mine.parent.mkdir()
    mine.touch()
    assert f"cells of mine --results {head.folder}/runs-of-all" in status()
    (head.folder / "finish").touch()
    following.join(20)


def test_the_newest_journal_is_the_one_that_is_written(tmp_path: Path) -> None:
    for name, at in (("first", 100.0), ("second", 200.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / JOURNAL).touch()
        os.utime(tmp_path / name / JOURNAL, (at, at))
    assert newest_journal(tmp_path, since=150.0) == tmp_path / "second" / JOURNAL
    assert newest_journal(tmp_path, since=250.0) is None
    beside = tmp_path / "first" / f"{JOURNAL}-wal"
    beside.touch()
    assert newest_journal(tmp_path, since=250.0) == tmp_path / "first" / JOURNAL


def test_its_former_name_is_the_same_command_line() -> None:
    assert former.app is commands.app
    done = subprocess.run(
        [sys.executable, "-m", "tune_app.cloud.driver", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for command in ("start", "follow", "status", "stop", "run"):
        assert f"  {command} " in done.stdout.replace("│", " ")


@pytest.mark.parametrize(
    "module",
    [
        "tune_app.cloud.daemon.__main__",
        "tune_app.cloud.driver",
        "tune_app.cloud.overlay.keeper",
        "tune_app.cloud.node.head",
        "tune_app.cloud.node.worker",
        "tune_app.cloud.head.restart_ray",
        "tune_app.cloud.head.install",
        "tune_app.cloud.head.start",
        "tune_app.cloud.head.release",
        "tune_app.cloud.overlay.access",
    ],
)
def test_what_units_and_cluster_files_name_is_still_there(module: str) -> None:
    """Units of heads that older versions brought up, and users' cluster.yaml, hold these names."""
    assert importlib.util.find_spec(module) is not None


def test_options_of_a_sweep_are_not_the_services() -> None:
    from tune_app.cloud.sweep_service.commands import app

    _, bound, _ = app.parse_args(
        ["start", "embedding_glu", "--tokens", "5M", "--set", "learning_rate=2e-3"]
    )
    assert bound.args == ("embedding_glu", "--tokens", "5M", "--set", "learning_rate=2e-3")
