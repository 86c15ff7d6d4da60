"""A machine with a real SSH server on loopback, which `ssh` on this machine finds by an address."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from typing_extensions import Self

from tests.tune_app.cloud.daemon.daemons import until
from tests.tune_app.stores.servers import SSHD, free_port
from tune_app.cloud.head.shell import HeadShell
from tune_app.cloud.secrets.ssh_keys import KeyPair, key_file


class LoopbackHead:
    """A context manager. Programs that are found by `path` come to it by its address.

    Args:
        host: its host key; it makes itself one where there is none.
    """

    def __init__(self, folder: Path, address: str, *, host: KeyPair | None = None) -> None:
        if SSHD is None or shutil.which("ssh") is None or shutil.which("rsync") is None:
            pytest.skip("no OpenSSH server and client, or no rsync, on this machine")
        self.address = address
        self.etc = folder / "etc"
        self.etc.mkdir(parents=True)
        self.user = key_file(self.etc / "user_key")
        if host is None:
            host = key_file(self.etc / "ssh_host_ed25519_key")
        else:
            (self.etc / "ssh_host_ed25519_key").touch(mode=0o600)
            (self.etc / "ssh_host_ed25519_key").write_text(host.file_text, "utf-8")
        self.known_hosts = self.etc / "known_hosts"
        self.known_hosts.write_text(f"{address} {host.public}\n", "utf-8")
        (self.etc / "authorized_keys").write_text(f"{self.user.public}\n", "utf-8")
        self.port = free_port()
        self._there = folder / "programs-there"
        self._here = folder / "programs-here"
        self.home = folder / "home"
        for where in (self._there, self._here, self.home):
            where.mkdir()
        # A login shell's /etc/profile sets another one.
        profile = f"export PATH={self._there}:$PATH\n"
        (self.home / ".bash_profile").write_text(profile, "utf-8")
        self.path = f"{self._here}:{os.environ['PATH']}"
        self.program(
            self._here,
            "ssh",
            f"exec {shutil.which('ssh')} -F /dev/null -o HostName=127.0.0.1 -o Port={self.port} "
            f"-o HostKeyAlias={address} -l {getpass.getuser()} -i {self.etc}/user_key "
            '-o IdentitiesOnly=yes "$@"',
        )
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def program(folder: Path, name: str, script: str) -> None:
        """Puts a shell script where programs are looked for."""
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        path.chmod(0o755)

    def program_there(self, name: str, script: str) -> None:
        """In the place of what the machine itself has of that name."""
        self.program(self._there, name, script)

    @property
    def shell(self) -> HeadShell:
        return HeadShell(
            address=self.address, user=getpass.getuser(), known_hosts=str(self.known_hosts)
        )

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def begin(self) -> None:
        """Starts the SSH server; returns when it answers."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        lines = [
            f"ListenAddress 127.0.0.1:{self.port}",
            f"HostKey {self.etc}/ssh_host_ed25519_key",
            f"AuthorizedKeysFile {self.etc}/authorized_keys",
            # An own home: what this machine's user has in ~/.bashrc must not run with our programs.
            f"SetEnv HOME={self.home} PATH={self._there}:{os.environ['PATH']} "
            f"STELLUX_SSH_FOLDER={self.etc}",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
        ]
        (self.etc / "sshd_config").write_text("\n".join(lines) + "\n", "utf-8")
        assert SSHD is not None
        self._process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", f"{self.etc}/sshd_config"], stderr=subprocess.DEVNULL
        )
        # What restarting it comes to: it reads its key anew, and connections stay.
        self.program_there(
            "systemctl", f'case "$1" in try-restart) kill -HUP {self._process.pid};; esac'
        )
        until(self._listens)

    def stop(self) -> None:
        """Ends it; connections that are open stay."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
