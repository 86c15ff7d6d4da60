"""How `ray start` is run: its environment, and its end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tune_app.cloud.node.processes import MARK
from tune_app.cloud.overlay.ray_arguments import ENVIRONMENT

logger = logging.getLogger(__name__)

CODE = Path(__file__).parents[3]
"""What Ray's processes import the project from."""


class RayStartError(Exception):
    """Ray did not start, or did not stay. Its message has what Ray said."""


def ray_environment(given: Mapping[str, str], *, mark: str) -> dict[str, str]:
    """The environment of `ray start`, and so of all that Ray starts.

    Time-outs that are set in `given` are kept; that a token is required is not optional.
    """
    paths = [str(CODE), *given.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**ENVIRONMENT, **given}
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    environment["RAY_AUTH_MODE"] = ENVIRONMENT["RAY_AUTH_MODE"]
    # It names a cluster to connect to, and there is none yet.
    environment.pop("RAY_ADDRESS", None)
    environment.pop(MARK, None)
    # The last one: titles are written over the first.
    environment[MARK] = mark
    return environment


def start_ray(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    timeout_s: float,
    ended: threading.Event | None = None,
) -> str:
    """Runs `ray start` until it returns, and returns what it said.

    What it starts survives this process and its session. Raises RayStartError if it fails, takes
    too long, or `ended` is set; something of Ray may run then.
    """
    assert arguments[0] == "ray"
    # Not the `ray` of the path: that may be another environment's.
    command = [sys.executable, "-m", "ray.scripts.scripts", *arguments[1:]]
    until = time.monotonic() + timeout_s
    # A pipe would be inherited by what it starts, and never end.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        why = ""
        while (code := process.poll()) is None:
            if ended is not None and ended.is_set():
                why = "it was to end"
            elif time.monotonic() > until:
                why = f"it took over {timeout_s:g} s"
            if why:
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.05)
        said.seek(0)
        text = said.read().decode("utf-8", errors="replace").strip()
    if why or code:
        raise RayStartError(f"ray start failed: {why or f'exit code {code}'}\n{_last(text, 30)}")
    return text


def answers(host: str, port: int, *, timeout_s: float = 2.0) -> bool:
    """Whether something accepts a connection there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def wait_for(host: str, port: int, *, timeout_s: float) -> bool:
    """Waits until something accepts a connection there; False if the time runs out first."""
    until = time.monotonic() + timeout_s
    while not answers(host, port):
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def last_lines(path: Path, count: int = 15) -> str:
    """The end of a log; empty if it cannot be read."""
    try:
        return _last(path.read_text("utf-8", errors="replace"), count)
    except OSError:
        return ""


def _last(text: str, count: int) -> str:
    return "\n".join(text.splitlines()[-count:])
