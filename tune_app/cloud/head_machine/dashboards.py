"""The dashboards of a cluster, on this machine: those of the head, through tunnels.

Ray's runs there anyway. The sweep's own are started there by `python -m tune_app.dashboard`, as
Ray's user, and end with the terminal that they were started from.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tune_app.cloud.head.remote import as_ray_user
from tune_app.cloud.head.shell import HeadCommandError, HeadShell
from tune_app.cloud.head_machine.tunnels import LOOPBACK, tunnels
from tune_app.cloud.head_paths import CODE, PYTHON, RAY_HOME
from tune_app.cloud.overlay.ray_arguments import DASHBOARD_PORT

RAY = "Ray's dashboard"
_ADDRESS = re.compile(r"(?P<title>.*?)\s+http://127\.0\.0\.1:(?P<port>\d+)/\s*")
_READY = "Ctrl-C ends them"
"""The last line of the program there, once everything has started."""
_MOST_LINES = 100


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A dashboard, or why there is none."""

    title: str
    address: str = ""
    """On this machine."""
    why_not: str = ""


def sweep_dashboards(shell: HeadShell, sweep: str) -> list[str]:
    """Words that start the dashboards of a sweep on the head. Pure."""
    environment = (f"PYTHONPATH={CODE}", f"HOME={RAY_HOME}")
    words = ("-P", "-m", "tune_app.dashboard", shlex.quote(sweep), "--results", f"{RAY_HOME}/runs")
    return [*as_ray_user(shell), "env", *environment, str(PYTHON), *words]


@contextmanager
def head_dashboards(
    shell: HeadShell, start: Sequence[str], *, ray: int = DASHBOARD_PORT
) -> Iterator[list[Shown]]:
    """The dashboards of a head, open as long as the block lasts.

    Args:
        shell: the way to the head.
        start: words that start those of a sweep there; empty for Ray's alone.
        ray: port of Ray's dashboard there.

    Raises HeadUnreachableError if the head does not answer, HeadCommandError if the program there
    ends at once.
    """
    with ExitStack() as stack:
        found = stack.enter_context(_started(shell, start)) if start else []
        ports = {RAY: ray} | {one.title: int(one.address) for one in found if one.address}
        here = stack.enter_context(tunnels(shell, list(ports.values())))
        shown = [Shown(title=RAY, address=_here(here[ray]))]
        for one in found:
            if one.address:
                shown.append(Shown(title=one.title, address=_here(here[ports[one.title]])))
            elif one.title != RAY:  # the head's own word on that is the tunnel
                shown.append(one)
        yield shown


def _here(port: int) -> str:
    return f"http://{LOOPBACK}:{port}/"


@contextmanager
def _started(shell: HeadShell, words: Sequence[str]) -> Iterator[list[Shown]]:
    """Starts the program there; what it says, with ports of the head as addresses."""
    ssh, *rest = shell.command(*words)
    # With a terminal: the program there ends when this connection does.
    process = subprocess.Popen(
        [ssh, "-tt", *rest],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line.strip())
            if said[-1] == _READY or len(said) > _MOST_LINES:
                break
        if not said or said[-1] != _READY:
            told = "; ".join(line for line in said[-3:] if line) or "it said nothing"
            raise HeadCommandError(f"the dashboards did not start on {shell.address}: {told}")
        # What else it says is read, or its pipe would fill.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield dashboards_in(said[:-1])
    finally:
        process.terminate()
        process.wait()


def dashboards_in(said: Sequence[str]) -> list[Shown]:
    """The dashboards that the program there has named; an address is a port of the head. Pure."""
    found = []
    for line in said:
        if match := _ADDRESS.fullmatch(line):
            found.append(Shown(title=match["title"].strip(), address=match["port"]))
        elif len(parts := re.split(r"\s{2,}", line, maxsplit=1)) == 2:
            found.append(Shown(title=parts[0], why_not=parts[1]))
    return found
