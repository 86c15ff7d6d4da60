"""The processes of a node's Ray, found by their mark and ended by their number."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.tune_app.cloud.daemon.daemons import until
from tune_app.cloud.node.processes import (
    MARK,
    alive,
    described,
    end_marked,
    mark_of,
    marked,
    programs,
)

if not Path("/proc/self/environ").exists():
    pytest.skip("no /proc: marks are seen on Linux alone", allow_module_level=True)

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def cluster() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a Python program with a mark, and returns when it has said a word."""
    started: list[subprocess.Popen[bytes]] = []

    def starting(mark: str, program: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env={"PATH": os.environ["PATH"], MARK: mark},
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    yield starting
    for process in started:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


SLEEP = "import time; print('here', flush=True); time.sleep(60)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('here', flush=True); time.sleep(60)"
)
# Its child has an environment without the mark, as a program that cleans its own.
PARENT = (
    "import subprocess, time\n"
    "child = subprocess.Popen(['/bin/sleep', '60'], env={})\n"
    "print(child.pid, flush=True); time.sleep(60)"
)


def test_a_node_ends_its_own_processes_and_no_others(cluster: str, start: Start) -> None:
    own, deaf = start(mark_of(cluster, 2), SLEEP), start(mark_of(cluster, 2), DEAF)
    neighbour, other = start(mark_of(cluster, 22), SLEEP), start(mark_of(f"{cluster}x", 2), SLEEP)

    assert {one.pid for one in marked(mark_of(cluster, 2))} == {own.pid, deaf.pid}
    assert end_marked(mark_of(cluster, 2), grace_s=0.5) == 2

    assert (own.wait(5), deaf.wait(5)) == (-15, -9)
    assert neighbour.poll() is None
    assert other.poll() is None
    assert end_marked(mark_of(cluster, 2), grace_s=0.5) == 0


def test_children_that_lost_the_mark_are_ended_too(cluster: str, start: Start) -> None:
    parent = start(mark_of(cluster, 2), PARENT)
    (child,) = psutil.Process(parent.pid).children()
    assert {one.pid for one in marked(mark_of(cluster, 2))} == {parent.pid, child.pid}
    end_marked(mark_of(cluster, 2), grace_s=0.5)
    until(lambda: not alive(child))


def test_who_asks_is_not_ended(cluster: str) -> None:
    program = (
        "from tune_app.cloud.node.processes import end_marked\n"
        f"print(end_marked({mark_of(cluster, 2)!r}, grace_s=0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, MARK: mark_of(cluster, 2)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_rays_programs_are_known_by_what_they_run(
    cluster: str, start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "ray" / "autoscaler" / "v2"
    folder.mkdir(parents=True)
    for name in ("monitor.py", "log_monitor.py"):
        (folder / name).write_text(SLEEP, "utf-8")
    run = "import os, sys; os.execv(sys.executable, [sys.executable, '-u', {!r}])"
    monitor = start(mark_of(cluster, 1), run.format(str(folder / "monitor.py")))
    start(mark_of(cluster, 1), run.format(str(folder / "log_monitor.py")))
    found = programs(marked(mark_of(cluster, 1)))
    assert {name: one.pid for name, one in found.items()} == {"monitor": monitor.pid}
    assert str(monitor.pid) in described([found["monitor"]])[0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes a container of its own")
def test_a_containers_processes_are_another_machines(cluster: str) -> None:
    mark = mark_of(cluster, 2)
    command = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo here; exec cat"]
    with subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as outer:
        try:
            assert outer.stdout is not None
            if not outer.stdout.readline():
                pytest.skip("this machine allows no namespaces of processes")
            (first,) = psutil.Process(outer.pid).children()
            enter = ["nsenter", "--pid", f"--target={first.pid}", "env", f"{MARK}={mark}"]
            with subprocess.Popen(
                [*enter, "sh", "-c", "echo here; exec cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ) as inside:
                assert inside.stdout is not None
                assert inside.stdout.readline() == b"here\n"
                assert end_marked(mark, grace_s=0) == 0
                assert inside.poll() is None
                inside.kill()
        finally:
            outer.kill()
