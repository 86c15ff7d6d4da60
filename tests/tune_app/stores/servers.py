"""Real servers on loopback, each a process of its own that the tests may stop, stall and kill."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import asyncssh
import psutil
from typing_extensions import Self

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

MOTO = """
import sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
server.start()
threading.Event().wait()
"""


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A process and its children, on one port for its whole life. Ends with `stop`."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it, or starts it again on its port; returns when it answers."""
        assert self._process is None
        self._process = self._launch()
        until = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, self._complaint()
            assert time.monotonic() < until, f"no answer in 20 s: {self._complaint()}"
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGKILL to it and to whoever serves a connection, as when a host loses its power."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):  # a connection that has just ended
                process.kill()
        if self._process is not None:
            self._process.wait()
        self._process = None

    def suspend(self) -> None:
        """SIGSTOP: the connections stand, nothing is answered."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):  # a connection that has just ended
                process.suspend()

    def resume(self) -> None:
        """SIGCONT."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):  # a connection that has just ended
                process.resume()

    def _family(self) -> list[psutil.Process]:
        """The listener first, so that it makes no more while the others are found."""
        if self._process is None or self._process.poll() is not None:
            return []
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def _launch(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _complaint(self) -> str:
        raise NotImplementedError


class Sshd(Server):
    """OpenSSH's server with SFTP, for this user and with keys of its own.

    Args:
        folder: where its keys and its log lie; the store is `folder/store`.
        user: whom it lets in; another than oneself only where one is root.
        chroot: a folder of root's that users see as /; only root can.
        options: more lines of its configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        user: str | None = None,
        chroot: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.store = folder / "store"
        self.user = user or getpass.getuser()
        self.key = self.make_key("client")
        self.host_key = self.make_key("host")
        self.known_hosts = folder / "known_hosts"
        self.trust(self.host_key)
        self.authorized_keys = folder / "authorized_keys"
        self.add_key(self.key)
        self.log = folder / "sshd.log"
        self._chroot = chroot
        self._options = options
        self._config = folder / "sshd_config"

    def make_key(self, name: str) -> Path:
        """A new key pair in its folder; the public half ends in .pub."""
        path = self.folder / name
        key = asyncssh.generate_private_key("ssh-ed25519")
        path.touch(0o600)
        key.write_private_key(path)
        key.write_public_key(path.with_name(name + ".pub"))
        return path

    def add_key(self, key: Path) -> None:
        """Lets the holder of a key in."""
        with self.authorized_keys.open("a", encoding="utf-8") as file:
            file.write(key.with_name(key.name + ".pub").read_text("utf-8"))
        self.authorized_keys.chmod(0o600)

    def trust(self, host_key: Path) -> None:
        """Makes this the only host key that clients expect."""
        public = host_key.with_name(host_key.name + ".pub").read_text("utf-8")
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}", "utf-8")

    def url(
        self, path: str | Path | None = None, *, key: Path | None = None, host: str = "127.0.0.1"
    ) -> str:
        """Names the store, or another path of the server's, for the key that it lets in."""
        place = f"sftp://{self.user}@{host}:{self.port}{path or self.store}"
        return f"{place}?key={key or self.key}&known_hosts={self.known_hosts}"

    def _launch(self) -> subprocess.Popen[bytes]:
        assert SSHD is not None, "ask whether SSHD is there first"
        if os.getuid() == 0:
            # Where root's sshd drops its privileges; a distribution makes it when it starts sshd.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self.authorized_keys}",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "Subsystem sftp internal-sftp",
            *([f"ChrootDirectory {self._chroot}"] if self._chroot else []),
            *self._options,
        ]
        self._config.write_text("\n".join(lines) + "\n", "utf-8")
        with self.log.open("ab") as log:
            return subprocess.Popen([SSHD, "-D", "-e", "-f", self._config], stderr=log)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _complaint(self) -> str:
        return self.log.read_text("utf-8")


class MotoServer(Server):
    """S3 in the memory of a process: what it holds is gone with it.

    Args:
        folder: where its log lies.
    """

    BUCKET = "checkpoints"

    ENVIRONMENT = {  # noqa: RUF012
        "AWS_ACCESS_KEY_ID": "for-tests",
        "AWS_SECRET_ACCESS_KEY": "no-secret-of-anybody",
    }
    """What its clients set: any key will do."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "moto.log"

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, with an empty bucket."""
        super().start()
        self.make_bucket(self.BUCKET)

    def url(self, prefix: str = "store", *, bucket: str = BUCKET) -> str:
        """Names a store in a bucket of it."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&region=us-east-1"

    def make_bucket(self, name: str) -> None:
        """Makes an empty bucket."""
        self.client().create_bucket(Bucket=name)

    def client(self) -> Any:
        """What AWS itself talks to S3 with: another hand than the store's."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.ENVIRONMENT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        )

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", MOTO, str(self.port)], stdout=log, stderr=log
            )

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.endpoint}/moto-api/", timeout=1):
                return True
        except OSError:
            return False

    def _complaint(self) -> str:
        return self.log.read_text("utf-8")
