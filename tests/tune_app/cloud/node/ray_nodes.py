"""A head and a worker of Ray on a network of their own: no other Ray of this machine meets them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S
from tests.tune_app.cloud.daemon.daemons import ROOT, until
from tune_app.cloud.node.processes import end_marked, mark_of, marked

MINIMAL = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def missing() -> str:
    """Why this machine cannot have such a network; empty where it can."""
    if os.getuid() != 0:
        return "only root makes a network of its own"
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            return f"no {tool}; apt-get install util-linux iproute2"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "this machine allows no network namespaces"


class RayNodes:
    """One network, a home and a head's settings; everything is ended on leaving."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = f"t{uuid.uuid4().hex[:8]}"
        self.home = folder / "home"
        self.home.mkdir()
        self.started = folder / "started"
        self.settings = folder / "head.json"
        values: dict[str, Any] = {
            "cluster": self.cluster,
            "object_store_bytes": 80_000_000,
            "autoscaling_config": "",
            "overlay": "",
            "temp_dir": str(folder / "ray"),
            "started": str(self.started),
            "stop_s": 1,
            "look_s": 0.2,
        }
        self.settings.write_text(json.dumps(values), "utf-8")
        self.head: subprocess.Popen[bytes] | None = None

    def change(self, **values: Any) -> None:
        """Of the head's settings, for its next start."""
        told = json.loads(self.settings.read_text("utf-8"))
        self.settings.write_text(json.dumps(told | values), "utf-8")

    def __enter__(self) -> RayNodes:
        # It holds the network, which is gone with its last process.
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        return self

    def __exit__(self, *_: object) -> None:
        if self.head is not None and self.head.poll() is None:
            self.head.kill()
            self.head.wait(10)
        for k in (1, 2):
            end_marked(mark_of(self.cluster, k), grace_s=0)
        self._holder.kill()
        self._holder.wait(10)

    def inside(self, *command: str) -> list[str]:
        """The command line of a program on this network."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *command]

    @property
    def log(self) -> str:
        return (self.folder / "head.log").read_text("utf-8")

    def start_head(self) -> str:
        """Returns the id of this start."""
        before = self.started.read_text("utf-8") if self.started.exists() else ""
        command = self.inside(sys.executable, "-m", "tune_app.cloud.node.head", str(self.settings))
        with (self.folder / "head.log").open("ab") as log:
            self.head = subprocess.Popen(
                command,
                env={**MINIMAL, "HOME": str(self.home)},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

        def ran() -> bool:
            assert self.head is not None
            assert self.head.poll() is None, self.log
            return self.started.exists() and self.started.read_text("utf-8") != before

        until(ran, seconds=PATIENCE_S, why=lambda: self.log)
        return self.started.read_text("utf-8")

    def worker(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Starts Ray on worker 2, as the head does by SSH: the session ends with the command."""
        node = "tune_app.cloud.node.worker"
        environment = {
            **MINIMAL,
            "HOME": str(self.home),
            "STELLUX_CLUSTER": self.cluster,
            "STELLUX_K": "2",
            "RAY_HEAD_IP": "127.77.0.1",
            **variables,
        }
        return subprocess.run(
            self.inside(sys.executable, "-m", node, "--again-s=1", "--stop-s=1", *words),
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            start_new_session=True,
        )

    @contextmanager
    def listening(self, *sockets: tuple[str, int]) -> Iterator[None]:
        """Somebody listens on this network."""
        program = (
            "import socket, sys\n"
            f"held = [socket.create_server(one) for one in {list(sockets)!r}]\n"
            "print('here', flush=True)\n"
            "sys.stdin.read()"
        )
        with subprocess.Popen(
            self.inside(sys.executable, "-c", program),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"here\n"
                yield
            finally:
                process.kill()

    def query(self, program: str) -> Any:
        """What a program, connected to this Ray, prints as JSON."""
        text = (
            "import json, ray\n"
            "ray.init(address='127.77.0.1:6379', _node_ip_address='127.77.0.1', "
            "log_to_driver=False)\n"
        ) + program
        done = subprocess.run(
            self.inside(sys.executable, "-c", text),
            env={**MINIMAL, "HOME": str(self.home), "RAY_AUTH_MODE": "token"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def processes(self, k: int) -> list[int]:
        """Of node k's Ray."""
        return [one.pid for one in marked(mark_of(self.cluster, k))]
