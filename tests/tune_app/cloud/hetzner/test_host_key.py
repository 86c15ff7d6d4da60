"""The host key is replaced over a real SSH connection to a real sshd on loopback."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tune_app.cloud.hetzner.host_key import HostKeys, fingerprint
from tune_app.cloud.secrets.ssh_keys import KeyPair

ADDRESS = "192.0.2.7"
"""By which the server is known; the connections go to loopback, at another port."""


class Machine:
    """A server with its first host key, as cloud-init leaves it."""

    def __init__(self, folder: Path, first: KeyPair, user: KeyPair) -> None:
        self.folder = folder
        self.ssh = folder / "ssh"
        self.ssh.mkdir(parents=True)
        self._write("ssh_host_ed25519_key", first.file_text)
        self._write("authorized_keys", user.public + "\n")
        self._write("sshd_config", f"HostKey {self.ssh}/ssh_host_ed25519_key\nStrictModes no\n")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [
                *("/usr/sbin/sshd", "-D", "-e", "-f", str(self.ssh / "sshd_config")),
                *("-o", f"Port={self.port}", "-o", "ListenAddress=127.0.0.1"),
                *("-o", f"PidFile={folder}/pid", "-o", "UsePAM=no"),
                *("-o", f"AuthorizedKeysFile={self.ssh}/authorized_keys"),
            ],
            stderr=subprocess.DEVNULL,
        )
        # What `systemctl try-restart` comes to: sshd reads its key anew, connections stay.
        programs = folder / "programs"
        programs.mkdir()
        program = programs / "systemctl"
        program.write_text(f"#!/bin/sh\nkill -HUP {self.process.pid}\n")
        program.chmod(0o755)
        self.path = f"{programs}:{os.environ['PATH']}"

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def _write(self, name: str, text: str) -> None:
        (self.ssh / name).write_text(text)
        (self.ssh / name).chmod(0o600)


@pytest.fixture
def keys(tmp_path: Path) -> HostKeys:
    return HostKeys(tmp_path / "laptop")


@pytest.fixture
def user(tmp_path: Path) -> KeyPair:
    pair = KeyPair.new()
    path = tmp_path / "user_key"
    path.touch(mode=0o600)
    path.write_text(pair.file_text)
    return pair


@pytest.fixture
def machine(keys: HostKeys, user: KeyPair, tmp_path: Path) -> Iterator[Machine]:
    for program in ("/usr/sbin/sshd", "ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    made = Machine(tmp_path / "server", keys.first(), user)
    yield made
    made.end()


@pytest.fixture
def run(machine: Machine, tmp_path: Path) -> Callable[[str, str], str]:
    def over_ssh(script: str, known_hosts: str) -> str:
        file = tmp_path / "known_hosts"
        file.write_text(known_hosts)
        command = [
            *("ssh", "-F", "/dev/null", "-T", "-p", str(machine.port)),
            *("-i", str(tmp_path / "user_key"), "-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={file}", "-o", "GlobalKnownHostsFile=/dev/null"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"),
            *("-o", f"HostKeyAlias={ADDRESS}", f"{getpass.getuser()}@127.0.0.1"),
            f"PATH='{machine.path}' STELLUX_SSH_FOLDER='{machine.ssh}' sh -s",
        ]
        for _ in range(50):
            done = subprocess.run(
                command, check=False, input=script, capture_output=True, text=True, timeout=60
            )
            if "refused" not in done.stderr:
                break
            time.sleep(0.1)  # sshd starts, or reads its key anew
        if done.returncode:
            raise OSError(done.stderr)
        return done.stdout

    return over_ssh


def test_over_ssh_from_the_first_connection_on(
    keys: HostKeys, machine: Machine, run: Callable[[str, str], str]
) -> None:
    first = keys.first()
    before = keys.known_hosts(1, ADDRESS, fingerprint(first.public))
    assert run("echo in", before) == "in\n"
    after = keys.rotate(1, ADDRESS, fingerprint(first.public), run)
    assert run("echo in", after) == "in\n"
    with pytest.raises(OSError, match="verification failed"):
        run("echo in", before)
    private = machine.ssh / "ssh_host_ed25519_key"
    assert private.stat().st_mode & 0o777 == 0o600
    assert KeyPair.parse(private.read_text()).public in after
    assert first.private not in private.read_text().replace("\n", "")


def test_a_server_with_another_key_is_not_spoken_to(
    keys: HostKeys, machine: Machine, run: Callable[[str, str], str]
) -> None:
    with pytest.raises(OSError, match="verification failed"):
        run("touch entered", f"{ADDRESS} {KeyPair.new().public}\n")
