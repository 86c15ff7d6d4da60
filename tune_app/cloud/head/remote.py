"""What the user's machine asks a running head for: its daemon, its services."""

from __future__ import annotations

import inspect
import shlex

from tune_app.cloud.cluster_yaml.records import HeadMachine
from tune_app.cloud.daemon import ssh_relay
from tune_app.cloud.daemon.client import DaemonClient, Exchange
from tune_app.cloud.head.shell import HeadShell
from tune_app.cloud.head.units import HEAD, SWEEP
from tune_app.cloud.head_paths import ACCOUNT_KEY, CODE, PYTHON, RAY_HOME, RAY_USER, SOCKET

_KEPT = "stellux-key-is-kept"


def shell_of(head: HeadMachine, user: str = "") -> HeadShell:
    """The way to a head.

    Args:
        user: who logs in there, if the head's settings do not name one.
    """
    return HeadShell(
        address=head.address,
        user=head.user or user,
        port=head.port,
        key=head.key,
        known_hosts=head.known_hosts,
    )


def remote_daemon(
    shell: HeadShell, *, timeout_s: float = 90.0, user: str = RAY_USER
) -> DaemonClient:
    """The head's daemon over SSH, one session for each request.

    Args:
        shell: of a user who may become root on the head.
        user: as whom to ask there. Only root may allow launches again.
    """
    return DaemonClient(SOCKET, exchange=_over(shell, timeout_s, user))


def _over(shell: HeadShell, timeout_s: float, user: str) -> Exchange:
    # As Ray's user, whom the daemon's socket is open to: not as root, for less reason. The program
    # itself is sent: the head may have been brought up by another version, without such a module.
    program = shlex.quote(inspect.getsource(ssh_relay))
    relay = (*_as(user, shell), str(PYTHON), "-P", "-c", program, str(SOCKET))

    def exchange(line: bytes) -> bytes:
        answer = shell.run(relay, stdin=line, timeout_s=timeout_s)
        # A login's own scripts may say something before.
        lines = answer.splitlines(keepends=True)
        return lines[-1].encode("utf-8") if lines else b""

    return exchange


def sweep_command(shell: HeadShell, *words: str, columns: int = 80) -> list[str]:
    """A command of the sweep's service as Ray's user runs it on the head.

    Args:
        words: of `python -m tune_app.cloud.sweep_service`.
        columns: width of the user's terminal.

    It goes by its former name, which heads that another version brought up have too.
    """
    environment = (f"PYTHONPATH={CODE}", f"HOME={RAY_HOME}", f"COLUMNS={columns}")
    module = ("-P", "-m", "tune_app.cloud.driver")
    quoted = (shlex.quote(word) for word in words)
    return [*as_ray_user(shell), "env", *environment, str(PYTHON), *module, *quoted]


def as_ray_user(shell: HeadShell) -> tuple[str, ...]:
    """Before a command that Ray's user runs there."""
    return _as(RAY_USER, shell)


def _as(user: str, shell: HeadShell) -> tuple[str, ...]:
    """Before a command that another user runs there."""
    become = ("runuser", "-u", user) if shell.user == "root" else ("sudo", "-n", "-u", user)
    return (*become, "--")


def stop_services(shell: HeadShell) -> None:
    """Ends the sweep and Ray on the head, and keeps them from starting again."""
    shell.run(shell.as_root("systemctl", "disable", "--now", SWEEP, HEAD))


def release(shell: HeadShell) -> None:
    """Takes the cluster's services and the account's key off the head; results stay.

    Where the program never came, there is nothing to take off.
    """
    command = f"env PYTHONPATH={CODE} {PYTHON} -P -m tune_app.cloud.head.release"
    line = f"if [ -x {PYTHON} ] && [ -d {CODE} ]; then cd / && exec {command}; fi"
    shell.run(shell.as_root("sh", "-c", shlex.quote(line)))


def has_account_key(shell: HeadShell) -> bool:
    """Whether the head holds the account's key: without it, nothing is rented from there."""
    line = f"if [ -e {ACCOUNT_KEY} ]; then echo {_KEPT}; fi"
    return _KEPT in shell.run(shell.as_root("sh", "-c", shlex.quote(line)))
