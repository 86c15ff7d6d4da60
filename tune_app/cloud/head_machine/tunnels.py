"""What listens on a head's loopback interface, opened on this machine's: `ssh -L`, nothing else.

Nothing on the head changes: what shows a sweep there listens on 127.0.0.1 alone, and stays so.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from tune_app.cloud.head.shell import CONNECT_S, HeadShell, HeadUnreachableError

LOOPBACK = "127.0.0.1"
_PATIENCE_S = 2.0 * CONNECT_S
_TO_END_S = 5.0


def tunnel_command(shell: HeadShell, ports: Mapping[int, int]) -> list[str]:
    """The command line of a tunnel. Pure.

    Args:
        shell: the way to the head.
        ports: port of this machine → port of the head.
    """
    ssh, *options = shell.command()
    forwards = [
        word
        for here, there in ports.items()
        for word in ("-L", f"{LOOPBACK}:{here}:{LOOPBACK}:{there}")
    ]
    # What cannot be opened here is an error, not a tunnel that leads nowhere.
    way = ["-N", "-T", "-o", "ExitOnForwardFailure=yes", *forwards]
    assert options[-1] == "--", "nothing is run there"
    return [ssh, *way, *options[:-1]]


@contextmanager
def tunnels(shell: HeadShell, there: Sequence[int]) -> Iterator[dict[int, int]]:
    """Port of the head → port of this machine, open as long as the block lasts.

    Raises HeadUnreachableError if the head does not answer, or refuses.
    """
    here = dict(zip(there, _free_ports(len(there)), strict=True))
    command = tunnel_command(shell, {mine: its for its, mine in here.items()})
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us, who end it
    )
    with ExitStack() as stack:
        stack.callback(_end, process)
        _wait(shell, process, here.values())
        yield here


def _wait(shell: HeadShell, process: subprocess.Popen[bytes], ports: Iterable[int]) -> None:
    until = time.monotonic() + _PATIENCE_S
    left = list(ports)
    while left:
        if process.poll() is not None:
            assert process.stderr is not None
            raise HeadUnreachableError(shell.why_unreachable(process.stderr.read().decode()))
        if time.monotonic() > until:
            raise HeadUnreachableError(
                f"the head {shell.address} opened no tunnel within {_PATIENCE_S:g} s; try again"
            )
        left = [port for port in left if not _listens(port)]
        time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_TO_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stderr is not None
    process.stderr.close()
