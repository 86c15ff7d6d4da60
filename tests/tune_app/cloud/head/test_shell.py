"""What the user's machine makes of a head that does not let it in. OpenSSH is played."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tune_app.cloud.daemon.client import DaemonClient
from tune_app.cloud.daemon.protocol import DaemonError
from tune_app.cloud.head.remote import remote_daemon
from tune_app.cloud.head.shell import HeadCommandError, HeadShell, HeadUnreachableError

SHELL = HeadShell(address="head.example", user="me", port=2_222, key="/keys/mine")


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in the place of `ssh`."""

    def put(script: str) -> None:
        path = tmp_path / "ssh"
        path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return put


def test_only_a_known_host_key_is_taken_and_nobody_is_asked(ssh: Callable[[str], None]) -> None:
    ssh('echo "$@"')
    line = SHELL.run(["true"])
    assert "-o StrictHostKeyChecking=yes" in line
    assert "-o BatchMode=yes" in line
    assert "-o ForwardAgent=no -o ForwardX11=no" in line
    assert line.strip().endswith("-p 2222 " + line.strip().split("-p 2222 ")[1])
    assert "-i /keys/mine -o IdentitiesOnly=yes me@head.example -- true" in line


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Host key verification failed.", "log in once by hand and compare it: ssh -p 2222 me@"),
        ("me@head.example: Permission denied (publickey).", "it refuses user me; see auth"),
        (
            "ssh: Could not resolve hostname head.example",
            "its name cannot be resolved; see provider",
        ),
        ("connect to host head.example port 2222: Connection refused", "no SSH server answers"),
        ("connect to host head.example port 2222: No route to host", "No route to host"),
    ],
)
def test_a_head_that_is_not_reached_is_told_with_the_remedy(
    ssh: Callable[[str], None], said: str, told: str
) -> None:
    ssh(f"echo '{said}' >&2; exit 255")
    with pytest.raises(
        HeadUnreachableError, match=r"head head\.example cannot be reached"
    ) as caught:
        SHELL.run(["true"])
    assert told in str(caught.value)


def test_a_command_that_fails_is_told_in_its_own_words(ssh: Callable[[str], None]) -> None:
    ssh("echo 'error: the disk is full' >&2; exit 2")
    with pytest.raises(HeadCommandError, match=r"^the disk is full$"):
        SHELL.run(["true"])
    with pytest.raises(HeadCommandError, match=r"^the disk is full$"):
        SHELL.show(["true"])
    ssh("echo 'sudo: a password is required' >&2; exit 1")
    with pytest.raises(HeadCommandError, match="needs a password to become root"):
        SHELL.run(SHELL.as_root("true"))


def test_a_full_disk_is_told_with_the_remedy(ssh: Callable[[str], None]) -> None:
    ssh("echo 'tar: code/a.py: Cannot write: No space left on device' >&2; echo x >&2; exit 2")
    with pytest.raises(HeadCommandError, match=r"device; free space on the disk of the head head"):
        SHELL.run(["true"])


def test_root_needs_no_sudo() -> None:
    assert SHELL.as_root("id") == ("sudo", "-n", "id")
    assert HeadShell(address="head.example", user="root").as_root("id") == ("id",)


def test_a_head_that_does_not_answer_in_time_is_given_up(ssh: Callable[[str], None]) -> None:
    ssh("exec sleep 20")
    with pytest.raises(HeadUnreachableError, match=r"did not answer within 0\.2 s"):
        SHELL.run(["true"], timeout_s=0.2)
    with pytest.raises(HeadUnreachableError, match=r"did not finish within 0\.2 s"):
        SHELL.show(["true"], timeout_s=0.2)


def test_the_daemon_is_asked_over_ssh(ssh: Callable[[str], None]) -> None:
    ssh("""cat >/dev/null; echo 'Welcome!'; echo '{"ok": true, "result": null}'""")
    client = remote_daemon(SHELL)
    assert isinstance(client, DaemonClient)
    client.open()
    ssh("cat >/dev/null; echo 'Permission denied (publickey).' >&2; exit 255")
    with pytest.raises(DaemonError, match="it refuses user me"):
        client.open()
