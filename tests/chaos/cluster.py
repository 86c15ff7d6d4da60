"""A Ray cluster of several nodes on loopback, each of them a session of processes of its own.

The head has no CPUs for trials, so a fault of a worker node never takes the driver's own raylet
along. Every node has an address of its own in 127.88.0.0/16 (Ray takes 127.0.0.1 for "this machine"
and would listen on its public address), a temporary folder of its own, and ports that the system
chooses. Ray's health checks keep their defaults. Nodes end by SIGKILL alone.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.processes import MARK, TrialWorker, kill_marked, kill_session, trial_workers

ROOT = Path(__file__).parent.parent.parent

_OBJECT_STORE_BYTES = 80_000_000
"""About the least that Ray takes: trials exchange reports, nothing else."""

_STARTED = "Ray runtime started."


class ClusterError(RuntimeError):
    """A node did not start. The message has the end of its log."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A raylet with its agents and workers: one session of processes."""

    host: str
    """Its address, which Ray knows it by."""
    process: subprocess.Popen[bytes]
    """`ray start --block`, which leads the session."""
    log: Path

    @property
    def session(self) -> int:
        return self.process.pid

    @property
    def joined(self) -> bool:
        return _STARTED in self.log.read_text("utf-8", errors="replace")

    def workers(self) -> list[TrialWorker]:
        """Its workers that train now."""
        return trial_workers(self.session)


class LocalCluster:
    """A head and a few worker nodes of one CPU each; a context manager that ends all of them.

    Args:
        workers: number of worker nodes.
        environment: of all nodes, and so of the trials, beside this process' own.
        around: what the command of a worker node is started by, given the node's number from 2.
    """

    def __init__(
        self,
        *,
        workers: int,
        environment: Mapping[str, str],
        around: Callable[[int], Sequence[str]] = lambda number: (),
    ) -> None:
        self.token = secrets.token_hex(8)
        # Not below a test's folder: the path of a socket has 107 characters at the most.
        self.folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.scratch = self.folder / "tmp"
        self.scratch.mkdir()
        self.environment = {
            **os.environ,
            **environment,
            MARK: self.token,
            "TMPDIR": str(self.scratch),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
        }
        self.nodes: list[Node] = []
        """The worker nodes, the oldest first."""
        self._head: list[Node] = []
        self._wanted = workers
        self._around = around
        self._started = 0
        self._port = free_port()

    @property
    def address(self) -> str:
        return f"{_host(1)}:{self._port}"

    def __enter__(self) -> LocalCluster:
        try:
            head = self._start(
                *("--head", "--port", str(self._port), "--num-cpus", "0"),
                *("--include-dashboard", "false", "--ray-client-server-port", str(free_port())),
            )
            self._head.append(head)
            self._wait_for(self._head)
            for _ in range(self._wanted):
                self.add_node()
            self._wait_for(self.nodes)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_node(self) -> Node:
        """Starts a worker node; it joins some seconds later."""
        node = self._start("--address", self.address, "--num-cpus", "1")
        self.nodes.append(node)
        return node

    def kill(self, node: Node) -> None:
        """SIGKILL to a node and all of its workers, at once for whoever looks from outside."""
        self.nodes.remove(node)
        kill_session(node.session)
        node.process.wait()

    def replace_dead(self) -> list[str]:
        """Puts a new node in the place of each that ended by itself. Returns their hosts."""
        dead = [node for node in self.nodes if node.process.poll() is not None]
        for node in dead:
            self.kill(node)
            self.add_node()
        return [node.host for node in dead]

    def close(self) -> None:
        """Ends every process of the run, and removes its folder."""
        for node in (*self.nodes, *self._head):
            kill_session(node.session)
            node.process.wait()
        kill_marked(self.token)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *options: str) -> Node:
        self._started += 1
        host = _host(self._started)
        log = self.folder / f"n{self._started}.log"
        command = [
            *(() if "--head" in options else self._around(self._started)),
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options),
            *("--node-ip-address", host, "--temp-dir", str(self.folder / f"n{self._started}")),
            *("--object-store-memory", str(_OBJECT_STORE_BYTES), "--disable-usage-stats"),
            # 0 lets the system choose: fixed ones would collide between nodes of one machine.
            *("--min-worker-port", "0", "--max-worker-port", "0"),
            *("--dashboard-agent-listen-port", "0", "--include-log-monitor", "false"),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Node(host=host, process=process, log=log)

    def _wait_for(self, nodes: list[Node], *, seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        for node in nodes:
            while not node.joined:
                if node.process.poll() is not None or time.monotonic() > deadline:
                    tail = node.log.read_text("utf-8", errors="replace")[-2_000:]
                    raise ClusterError(f"the node {node.host} did not start: {tail}")
                time.sleep(0.1)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _host(number: int) -> str:
    return f"127.88.{number // 250}.{number % 250 + 1}"
