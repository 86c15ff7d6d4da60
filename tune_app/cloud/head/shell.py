"""Commands on the head from the user's machine, by OpenSSH; the host key must be known."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CONNECT_S = 15
SSH_FAILED = 255
"""OpenSSH's own exit code: the command was not run, or not to its end."""
NOTHING_FORWARDED = {"ForwardAgent": "no", "ForwardX11": "no"}
"""Whatever ~/.ssh/config says: the other end could log in elsewhere with the user's agent."""

_FULL = "No space left on device"

_REMEDIES = (
    (
        "Host key verification failed",
        "its host key is not known here; log in once by hand and compare it: {login}",
    ),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key has changed; find out why before you accept it: {login}",
    ),
    (
        "Permission denied",
        "it refuses user {user}; see auth.ssh_user, provider.head.key and {login}",
    ),
    ("Could not resolve", "its name cannot be resolved; see provider.head.address"),
    (
        "Connection refused",
        "no SSH server answers there; check provider.head.port, and that the machine runs",
    ),
)


class HeadUnreachableError(OSError):
    """The head's SSH server does not answer, or refuses the login."""


def unreachable(error: BaseException | None) -> bool:
    """Whether an error is, or comes from, a head that cannot be reached."""
    while error is not None and not isinstance(error, HeadUnreachableError):
        error = error.__cause__
    return error is not None


class HeadCommandError(OSError):
    """A command on the head failed. Its message has what the command said."""


@dataclass(frozen=True, kw_only=True)
class HeadShell:
    """How this machine's user logs in on the head.

    Every method raises HeadUnreachableError if the head cannot be reached, and HeadCommandError
    if the command ends with an exit code other than 0.
    """

    address: str
    user: str
    port: int = 22
    key: str = ""
    """A file; empty for what ~/.ssh/config and the agent say."""
    known_hosts: str = ""
    """A file; empty for the user's own."""
    fresh: bool = False
    """A connection of its own, even where ~/.ssh/config shares one."""

    def command(self, *words: str) -> list[str]:
        """The command line on this machine that runs the words there."""
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "8",
            **NOTHING_FORWARDED,
        }
        if self.known_hosts:
            options |= {"UserKnownHostsFile": self.known_hosts, "GlobalKnownHostsFile": "/dev/null"}
        if self.fresh:
            options |= {"ControlMaster": "no", "ControlPath": "none"}
        line = ["ssh", "-p", str(self.port)]
        for name, value in options.items():
            line += ["-o", f"{name}={value}"]
        if self.key:
            line += ["-i", self.key, "-o", "IdentitiesOnly=yes"]
        return [*line, f"{self.user}@{self.address}", "--", *words]

    def as_root(self, *words: str) -> tuple[str, ...]:
        """The words as root runs them there."""
        return words if self.user == "root" else ("sudo", "-n", *words)

    def run(
        self, words: Iterable[str], *, stdin: bytes = b"", timeout_s: float | None = 300.0
    ) -> str:
        """Runs words of a shell's command line there; returns what they print."""
        try:
            done = subprocess.run(
                self.command(*words),
                check=False,
                input=stdin,
                capture_output=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise HeadUnreachableError(
                f"the head {self.address} did not answer within {timeout_s:g} s"
            ) from None
        self._check(done.returncode, done.stderr.decode("utf-8", "replace"))
        return done.stdout.decode("utf-8", "replace")

    def show(self, words: Sequence[str], *, timeout_s: float | None = None) -> None:
        """Runs words there while the user reads what they print."""
        with subprocess.Popen(
            self.command(*words), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            try:
                said = process.communicate(timeout=timeout_s)[1].decode("utf-8", "replace")
            except subprocess.TimeoutExpired:
                process.kill()
                raise HeadUnreachableError(
                    f"the head {self.address} did not finish within {timeout_s:g} s; try again, "
                    "it continues where it stopped"
                ) from None
        self._check(process.returncode, said)

    def stream(self, words: Iterable[str]) -> int:
        """Runs words there while the user reads what they print; returns their exit code.

        Raises HeadUnreachableError alone: a command that fails has said why.
        """
        command = self.command(*words)
        code = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
        if code == SSH_FAILED:
            raise HeadUnreachableError(self.why_unreachable(""))
        return code

    def _check(self, code: int, said: str) -> None:
        if code == 0:
            return
        said = said.strip()
        if code == SSH_FAILED:
            raise HeadUnreachableError(self.why_unreachable(said))
        if "sudo:" in said and "password is required" in said:
            raise HeadCommandError(
                f"{self.user} on the head {self.address} needs a password to become root; "
                "set auth.ssh_user to root, or allow it: see sudoers(5), NOPASSWD"
            )
        if _FULL in said:
            last = [line for line in said.splitlines() if _FULL in line][-1]
            raise HeadCommandError(
                f"{last.strip()}; free space on the disk of the head {self.address}, or use a "
                "larger one"
            )
        raise HeadCommandError(said.removeprefix("error: ") or f"exit code {code}")

    def why_unreachable(self, said: str) -> str:
        """What ssh said, in a sentence with what helps."""
        login = shlex.join(["ssh", "-p", str(self.port), f"{self.user}@{self.address}"])
        for sign, remedy in _REMEDIES:
            if sign in said:
                told = remedy.format(login=login, user=self.user)
                return f"the head {self.address} cannot be reached: {told}"
        last = said.splitlines()[-1] if said else "no reason given"
        return (
            f"the head {self.address} cannot be reached ({last}); see provider.head in the YAML, "
            f"and try: {login}"
        )
