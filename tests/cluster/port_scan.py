"""Which TCP ports of an address are open, of all 65535, as a machine of the lab sees it.

PYTHONPATH=CHECKOUT python -m tests.cluster.port_scan ADDRESS      (in that machine)

A port that does not answer within `WAIT_S` is not open: nothing between the machines of a lab takes
that long.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import socket
import sys
import time
from contextlib import ExitStack

from tests.cluster.machine import REPOSITORY, Machine

PYTHON = str(REPOSITORY / ".venv/bin/python")
PORTS = range(1, 65_536)
AT_ONCE = 8_000
WAIT_S = 0.5


def scanned(machine: Machine, address: str) -> list[int]:
    """The open ports of an address, seen from a machine. Takes some seconds.

    Raises CalledProcessError where nothing answers there at all, not even by refusing.
    """
    command = [PYTHON, "-m", "tests.cluster.port_scan", address]
    said = machine.run(command, env={"PYTHONPATH": str(REPOSITORY)}, timeout=120).stdout
    found: list[int] = json.loads(said)
    return found


def open_ports(address: str) -> list[int]:
    """Those to which a connection is made. Raises OSError where nothing answers at all."""
    answers: dict[int, int] = {}
    for first in range(0, len(PORTS), AT_ONCE):
        answers |= _answers(address, PORTS[first : first + AT_ONCE])
    odd = sorted(set(answers.values()) - {0, errno.ECONNREFUSED})
    if odd or not answers:
        raise OSError(f"{address}: {', '.join(map(os.strerror, odd)) or 'nothing answers'}")
    return [port for port, said in answers.items() if said == 0]


def _answers(address: str, ports: range) -> dict[int, int]:
    """What came of a connection to each port that answered: 0, or an errno."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    answers: dict[int, int] = {}
    with ExitStack() as stack:
        poll = select.poll()
        asked: dict[int, tuple[int, socket.socket]] = {}
        for port in ports:
            knocking = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            knocking.setblocking(False)
            said = knocking.connect_ex((address, port))
            if said == errno.EINPROGRESS:
                asked[knocking.fileno()] = (port, knocking)
                poll.register(knocking, select.POLLOUT)
            else:
                answers[port] = said
        until = time.monotonic() + WAIT_S
        while asked and (left := until - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1_000):
                port, knocking = asked.pop(descriptor)
                poll.unregister(descriptor)
                answers[port] = knocking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return answers


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.stdout.write(json.dumps(sorted(open_ports(sys.argv[1]))))
