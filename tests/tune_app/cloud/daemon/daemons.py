"""A real daemon in a process of its own, against the API on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tune_app.cloud.vast.fake_vast import FakeVast
from tune_app.cloud.daemon.client import DaemonClient
from tune_app.cloud.daemon.protocol import DaemonError
from tune_app.cloud.errors import CloudError, LaunchError

ROOT = Path(__file__).parents[4]

PATIENCE = {
    "http": 2.0,
    "retry": 0.05,
    "create": 5.0,
    "look": 1.0,
    "look_every": 0.1,
    "settle": 2.0,
    "poll": 0.1,
    "fresh": 0.05,
    "backoff": 0.05,
    "backoff_most": 0.2,
}


class DaemonProcess:
    """Started, killed and started again, always in the same folder."""

    def __init__(self, folder: Path, fake: FakeVast, **settings: Any) -> None:
        self.folder = folder
        self.key = fake.key
        # Not in the folder: a socket's path has 107 bytes at most, and a test's may be longer.
        short = tempfile.mkdtemp(prefix="stellux-", dir="/tmp")
        weakref.finalize(self, shutil.rmtree, short, ignore_errors=True)
        self.socket = Path(short) / "s"
        self.client = DaemonClient(self.socket, timeout_s=20.0)
        self.settings = folder / "settings.json"
        values: dict[str, Any] = {
            "cluster": "mine",
            "cap_dollars": 50,
            "base_url": fake.url,
            "node_types": {"worker": {"image": "cuda"}},
            "patience": PATIENCE | settings.pop("patience", {}),
            "seconds_between": {},
            "pace_margin": 0,
            **settings,
        }
        self.settings.write_text(json.dumps(values), "utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8")

    def start(self, *more: str, wait: bool = True, key: str | None = None) -> DaemonProcess:
        module = "tune_app.cloud.daemon"
        command = [sys.executable, "-m", module, str(self.settings)]
        command += ["--state", str(self.folder / "state"), "--socket", str(self.socket), *more]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=ROOT
            )
        assert self.process.stdin is not None
        self.process.stdin.write((self.key if key is None else key).encode() + b"\n")
        self.process.stdin.close()
        if wait:
            until(self.answers, why=lambda: self.log)
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            self.client.status()
        except DaemonError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, to this very process."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def end(self) -> int:
        """SIGTERM. Returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(20)


def until(
    holds: Callable[[], bool], *, seconds: float = 20.0, why: Callable[[], str] = lambda: ""
) -> None:
    """Waits for something to become true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, why()
        time.sleep(0.02)


def in_background(call: Callable[[], object]) -> threading.Thread:
    """Calls; what is raised is nobody's business, since the daemon is about to die."""

    def run() -> None:
        try:
            call()
        except OSError:
            return

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def rented(daemon: DaemonProcess, request: str) -> bool:
    """Whether a request has its worker; asks for it again, as an autoscaler does."""
    try:
        daemon.client.create("worker", request)
    except (LaunchError, CloudError):
        return False
    return True
