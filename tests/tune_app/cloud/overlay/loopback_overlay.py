"""A head with a real second SSH server, and workers that run the real start script, on loopback."""

from __future__ import annotations

import getpass
import os
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
from typing_extensions import Self

from tests.tune_app.stores.servers import SSHD, Server, free_port
from tune_app.cloud.market.instance_request import WorkerStart
from tune_app.cloud.market.labels import Label
from tune_app.cloud.overlay.addresses import Ports, address
from tune_app.cloud.overlay.authorized import AuthorizedKeys
from tune_app.cloud.overlay.keeper import Keeper
from tune_app.cloud.overlay.links import end_link, links
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.overlay.setup import OverlaySetup, installed_openssh
from tune_app.cloud.overlay.sshd_config import sshd_config

LAST_K = 9


def until(true: Callable[[], object], why: Callable[[], object], *, within_s: float = 15) -> None:
    """Returns when it is so."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, why()
        time.sleep(0.05)


class Head(Server):
    """The second SSH server as the project configures it, with its keeper, in a network of its own.

    Args:
        folder: absolute; whoever comes in must be able to read in it.
        store_user: who comes in for checkpoints; another than oneself only where one is root.
    """

    def __init__(
        self, folder: Path, *, store_user: str | None = None, store_root: str = "/srv"
    ) -> None:
        super().__init__()
        self.folder = folder
        # Tests that run at once do not meet: nobody else has this process's network.
        network = f"{100 + os.getpid() // 250 % 50}.{os.getpid() % 250}"
        self.settings = OverlaySettings(
            head="127.0.0.1",
            port=self.port,
            link_user=getpass.getuser(),
            store_user=store_user or getpass.getuser(),
            store_root=store_root,
            gcs_port=free_port(),
            last_k=LAST_K,
            network=f"127.{network}",
            worker_folder="/nowhere",
            pause_s=1,
        )
        self.setup = OverlaySetup(self.settings, folder)
        self._config = folder / "sshd_config"
        config = sshd_config(self.settings, str(folder), version=installed_openssh())
        self._config.write_text(config, "utf-8")
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def allowed(self) -> set[int]:
        """Whose links are let in."""
        return AuthorizedKeys(self.setup.files.authorized(self.settings.link_user)).workers()

    def start(self) -> None:
        """Starts the server, and the keeper."""
        super().start()
        keeper = Keeper(
            self.settings,
            end=lambda k: end_link(self.settings, k),
            allowed=lambda: self.allowed,
        )

        def keep() -> None:
            keeper.run(self._ended, every_s=0.2)
            keeper.close()

        self._keeper = threading.Thread(target=keep, daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """Ends both."""
        self._ended.set()
        if self._keeper is not None:
            self._keeper.join()
        super().stop()

    def is_open(self, k: int) -> bool:
        """Whether worker k's link is."""
        return k in links(self.settings).open

    def sessions(self, k: int) -> set[int | None]:
        """Processes that hold worker k's link."""
        where = (address(k, self.settings.network), Ports(k).node_manager)
        return {
            one.pid
            for one in psutil.net_connections("tcp4")
            if one.status == psutil.CONN_LISTEN and tuple(one.laddr) == where
        }

    def _launch(self) -> subprocess.Popen[bytes]:
        assert SSHD is not None, "ask whether SSHD is there first"
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            return subprocess.Popen([SSHD, "-D", "-e", "-f", self._config], stderr=log)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _complaint(self) -> str:
        return (self.folder / "sshd.log").read_text("utf-8")


class Worker:
    """Worker k, whose own loopback network stands for its machine."""

    def __init__(self, head: Head, k: int, folder: Path, *, again: int = 0) -> None:
        self.k = k
        self.head = head
        self.folder = folder
        self.settings = replace(
            head.settings,
            worker_folder=str(folder),
            worker_network=f"127.{200 + 10 * again + k}.{os.getpid() % 250}",
        )
        self.start_as: WorkerStart | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def log(self) -> str:
        with suppress(FileNotFoundError):
            return (self.folder / "link.log").read_text("utf-8")
        return "no log"

    def prepare(self, *, then: str = "") -> WorkerStart:
        """What the daemon is given for it."""
        label = Label(cluster="mine", node_type="gpu", k=self.k, attempt="r.1")
        setup = OverlaySetup(self.settings, self.head.folder)
        self.start_as = setup.prepare(WorkerStart(onstart=then), label)
        return self.start_as

    def start(
        self,
        *,
        then: str = "",
        script: str | None = None,
        wait: bool = True,
        open_files: int | None = None,
    ) -> str:
        """Runs the start script as the instance would; returns what it printed.

        Args:
            open_files: how many its processes may have, unless they raise that.
        """
        start_as = self.start_as or self.prepare(then=then)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "onstart.sh"
        path.write_text(script or start_as.onstart, "utf-8")
        limit = "" if open_files is None else f"ulimit -Sn {open_files}; "
        done = subprocess.run(
            ["sh", "-c", f'{limit}exec sh "$0"', path],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **start_as.env},
        )
        assert done.returncode == 0, done.stderr
        if wait:
            until(lambda: self.head.is_open(self.k), lambda: self.log)
        return done.stdout + done.stderr

    def ssh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """OpenSSH with the worker's key, as whoever holds its machine may call it."""
        return subprocess.run(
            ["ssh", "-F", "config.head", *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            cwd=self.folder,
        )

    def client(self) -> psutil.Process:
        """The process of OpenSSH's that holds the link."""
        loop = psutil.Process(int((self.folder / "link.pid").read_text("ascii")))
        (found,) = [one for one in loop.children() if "-N" in one.cmdline()]
        return found

    def stop(self) -> None:
        """SIGKILL to all of it, as when the host is outbid."""
        for name in ("link.pid", "sshd.pid"):
            with suppress(FileNotFoundError, psutil.NoSuchProcess, ValueError):
                parent = psutil.Process(int((self.folder / name).read_text("ascii")))
                for process in [parent, *parent.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            (self.folder / name).unlink(missing_ok=True)


class _Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        line = self.rfile.readline()
        self.wfile.write(b"heard " + line)


class _EchoServer(socketserver.ThreadingTCPServer):
    # A test may take a port whose last connection was closed a moment ago.
    allow_reuse_address = True


@contextmanager
def echo(where: str, port: int) -> Iterator[None]:
    """A server that answers a line."""
    with _EchoServer((where, port), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def asked(where: str, port: int, line: bytes) -> bytes:
    """What a server answers to a line."""
    with socket.create_connection((where, port), timeout=5) as connection:
        connection.sendall(line + b"\n")
        with connection.makefile("rb") as answer:
            return answer.read()
