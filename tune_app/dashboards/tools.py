"""The other tools that show a sweep: whether they are installed, and how they are started."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tune_app import formats
from tune_app.dashboards.server import LOOPBACK
from tune_app.dashboards.shown import is_study, phases_in
from tune_app.results.mirrors.optuna_url import optuna_file, optuna_url
from tune_app.results.mirrors.tensorboard import TENSORBOARD

RAY = "Ray's dashboard"
RAY_PORT = 8265
"""Of Ray's dashboard, unless it is told another."""
_PATIENCE = 60.0
"""Seconds that a tool may take until it answers; the first start compiles its files."""
_TO_END = 5.0
"""Seconds that it may take to end before it is killed."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program with a page of its own."""

    title: str
    module: str
    """That must be importable."""
    package: str
    """That has it."""
    arguments: Callable[[Path, int], Sequence[str]]
    """Of Python, from the sweep's folder and a port."""
    needs: Callable[[Path], Path]
    """The sweep's folder → the file or folder in it that it shows."""


def _optuna(folder: Path, port: int) -> list[str]:
    code = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    url = optuna_url(optuna_file(folder))
    return ["-c", code, url, "--host", LOOPBACK, "--port", str(port), "--quiet"]


def _tensorboard(folder: Path, port: int) -> list[str]:
    logs = str(_logs(folder))
    return ["-m", "tensorboard.main", "--logdir", logs, "--host", LOOPBACK, "--port", str(port)]


def _logs(folder: Path) -> Path:
    """Of a study all phases: TensorBoard groups runs by their folders."""
    return folder if is_study(folder) else folder / TENSORBOARD


TOOLS = (
    Tool(
        title="Optuna's dashboard",
        module="optuna_dashboard",
        package="optuna-dashboard",
        arguments=_optuna,
        needs=optuna_file,
    ),
    Tool(
        title="TensorBoard",
        module="tensorboard",
        package="tensorboard",
        arguments=_tensorboard,
        needs=_logs,
    ),
)


def why_not(tool: Tool, folder: Path) -> str:
    """Why a tool cannot show the sweep, with the remedy; empty if it can."""
    if importlib.util.find_spec(tool.module) is None:
        return f"not installed; python -m pip install {tool.package}"
    if tool.needs is optuna_file and is_study(folder):
        last = phases_in(folder)[-1:]
        return f"one for each phase: stellux dashboard {last[0] if last else folder / '0-…'}"
    if not (needed := tool.needs(folder)).exists():
        return (
            f"{needed} is not there yet; stellux report {formats.sweep_arguments(folder)} writes it"
        )
    return ""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A tool that runs."""

    tool: Tool
    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/"

    def answers(self) -> bool:
        """Whether it does, within a minute; False once it has ended."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            try:
                socket.create_connection((LOOPBACK, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return True
        return False

    def end(self) -> None:
        """Ends the process and waits for it."""
        self.process.terminate()
        try:
            self.process.wait(_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def ray_dashboard(port: int = RAY_PORT) -> str:
    """The address of Ray's dashboard on this machine; empty where none runs.

    A sweep on one machine starts Ray without; the head of a cluster has one.
    """
    connection = HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", "/api/version")
        found = json.loads(connection.getresponse().read(10_000))
    except (OSError, HTTPException, ValueError, RecursionError):
        return ""
    finally:
        connection.close()
    known = isinstance(found, dict) and "ray_version" in found
    return f"http://{LOOPBACK}:{port}/" if known else ""


def start(tool: Tool, folder: Path) -> Started:
    """Starts a tool on a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, *tool.arguments(folder, port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us, who end it
    )
    return Started(tool=tool, port=port, process=process)
