"""A sweep as a service of the head: started, followed, stopped, and asked how it is."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from tune_app.cloud import head_paths
from tune_app.cloud.daemon.client import daemon_here
from tune_app.cloud.head.services import ServiceError, systemctl
from tune_app.cloud.head.units import SWEEP
from tune_app.cloud.node.settings import load_head_settings
from tune_app.cloud.overlay.addresses import HEAD, address
from tune_app.cloud.overlay.settings import load_overlay_settings
from tune_app.cloud.overlay.worker_script import store_url
from tune_app.cloud.sweep_service.hub_token import TOKEN_VARIABLE, checked_token, store_token
from tune_app.cloud.sweep_service.supervisor import (
    SweepFiles,
    SweepSupervisor,
    Verdict,
    checked_arguments,
)
from tune_app.command_line import MISTAKE
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.store_location import STORE_VARIABLE

COMMANDS = "tune_app.cloud"
"""Where people start, follow and stop a sweep."""
SWEEP_MODULE = "tune_app.sweep"
UNIT = SWEEP.removesuffix(".service")
"""Exactly as sudoers(5) allows it."""
RUNNING = {"active", "activating", "deactivating", "reloading"}
FAILED_STATE = "failed"
CRASHED = 1
"""Exit code if the supervisor itself failed."""
LAST_LINES = 5
_RESULTS = """\
From your own machine, fetch its results and end the rented machines:
  python -m tune_app.cloud fetch --cluster cluster.yaml
  ray down cluster.yaml"""

logger = logging.getLogger(__name__)


def usual_files() -> SweepFiles:
    return SweepFiles(folder=Path.home() / ".stellux")


def usual_supervisor(files: SweepFiles) -> SweepSupervisor:
    """Raises ValueError or OSError if the head's settings cannot be read."""
    settings = load_head_settings(head_paths.HEAD_SETTINGS)
    overlay = load_overlay_settings(head_paths.OVERLAY_SETTINGS)
    return SweepSupervisor(
        files=files,
        started=Path(settings.started).expanduser(),
        ray=(address(HEAD), settings.gcs_port),
        home=Path.home(),
        variables={STORE_VARIABLE: store_url(overlay, head_paths.STORE)},
        drains=why_drained,
    )


def why_drained() -> str:
    """Why the cluster ends its machines now; empty if it does not, or if nobody says."""
    client = daemon_here()
    if client is None:
        return ""
    try:
        order = client.drain(UNIT)
        if order.wanted:
            # It has no work of its own: nobody is to wait for it.
            client.drained(UNIT, order.number)
    except OSError as error:
        return f"the cloud daemon does not say whether it goes on: {error}"
    return order.reason if order.wanted else ""


def start_sweep(files: SweepFiles, arguments: tuple[str, ...]) -> int:
    """Raises ValueError if a sweep runs already, ServiceError if systemd does not start it."""
    wanted = checked_arguments(arguments)
    with files.starting():
        if service_state() in RUNNING:
            raise ValueError(
                f"a sweep runs already: {_described(files)}; see it with {_command('follow')}, "
                f"stop it with {_command('stop')}"
            )
        files.write_job(wanted)
        if token := checked_token(os.environ.get(TOKEN_VARIABLE, "")):
            store_token(token, files.token)
        systemctl("enable", "--now", UNIT, as_root=True)
    return follow_sweep(files, sys.stdout, from_start=True)


def follow_sweep(
    files: SweepFiles, out: TextIO, *, from_start: bool = False, look_s: float = 0.5
) -> int:
    """Copies the log until the service has ended. Returns the supervisor's exit code.

    Raises ValueError if no sweep runs.
    """
    state = service_state()
    if not from_start and state not in RUNNING:
        raise ValueError(f"no sweep runs; {_ending(files, state)}")
    out.write(f"The sweep runs as a service of the head: you may leave.\n{_hints()}\n")
    try:
        with files.log.open("r", encoding="utf-8", errors="replace") as log:
            if not from_start:
                log.seek(max(0, files.log.stat().st_size - 2_000))
                log.readline()
            while True:
                # Before the log is read, so that its last lines are not missed.
                state = service_state()
                out.write(log.read())
                out.flush()
                if state not in RUNNING:
                    break
                time.sleep(look_s)
    except KeyboardInterrupt:
        out.write(f"\nThe sweep continues.\n{_hints()}\n")
        return 0
    out.write(f"{_ending(files, state)}\n")
    end = files.read_end()
    if end is None:
        return CRASHED if state == FAILED_STATE else 0
    if end.code == 0:
        out.write(f"{_RESULTS}\n")
    return end.code


def show_status(
    files: SweepFiles, out: TextIO, *, home: Path | None = None, module: str = SWEEP_MODULE
) -> int:
    """Whether a sweep runs, its last lines, and its cells.

    Args:
        home: its working directory, in which its results lie.
        module: asked for the cells.

    Returns 0 if a sweep runs, else 3, as systemctl does.
    """
    state = service_state()
    running = state in RUNNING
    if running:
        out.write(f"The sweep is {state}: {_described(files)}\n")
        lines = files.log.read_text("utf-8", errors="replace").splitlines()[-LAST_LINES:]
        out.writelines(f"  {line}\n" for line in lines)
    else:
        out.write(f"no sweep runs; {_ending(files, state)}\n")
    if files.job.exists():
        out.write(_cells(files, home or Path.home(), module))
    if running:
        out.write(f"{_hints()}\n")
    return 0 if running else 3


def _cells(files: SweepFiles, home: Path, module: str) -> str:
    """What the sweep's own status shows; a line where it has nothing yet."""
    journal = newest_journal(home / _results(files), since=files.job.stat().st_mtime)
    if journal is None:
        return "  its cells have not started yet\n"
    sweep = journal.parent
    done = subprocess.run(
        [sys.executable, "-m", module, "status", sweep.name, "--results", str(sweep.parent)],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        return f"  its cells are not known: {done.stderr.strip()[-300:]}\n"
    return done.stdout


def newest_journal(results: Path, *, since: float) -> Path | None:
    """The journal that was written last; None if none was written since then.

    A cluster runs one sweep at a time, and it writes with the first cell.

    Args:
        since: seconds since 1970.
    """

    def written(journal: Path) -> float:
        # SQLite writes beside the file first.
        beside = journal.with_name(f"{journal.name}-wal")
        return max(path.stat().st_mtime for path in (journal, beside) if path.exists())

    found = sorted((written(path), path) for path in results.glob(f"*/{JOURNAL}"))
    return found[-1][1] if found and found[-1][0] >= since else None


def _results(files: SweepFiles) -> str:
    """The sweep's --results."""
    words = [word for argument in files.read_job() for word in argument.split("=", 1)]
    after = words[words.index("--results") + 1 :] if "--results" in words else []
    return after[0] if after else "runs"


def stop_sweep(files: SweepFiles, out: TextIO) -> int:
    """Raises ValueError if no sweep runs, ServiceError if systemd does not stop it."""
    if (state := service_state()) not in RUNNING:
        raise ValueError(f"no sweep runs; {_ending(files, state)}")
    out.write("the sweep saves; this takes up to 90 s\n")
    out.flush()
    systemctl("disable", "--now", UNIT, as_root=True)
    again = shlex.join(["start", *files.read_job()])
    out.write(f"The sweep has stopped. Continue it with: {_command(again)}\n")
    return 0


def run_service(files: SweepFiles, make: Callable[[], SweepSupervisor]) -> int:
    """Runs the sweep until it ends, or until SIGTERM. One that has ended is not run again.

    The unit stays enabled, and a reboot starts it: disabling it would need more rights than what
    reads workers' results should have.

    Failures of the supervisor itself go into the sweep's log, where people look. A user's mistake
    ends the sweep; after anything else systemd restarts the supervisor.
    """
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (ended_before := files.read_end()) is not None:
        return ended_before.code
    handler = logging.FileHandler(files.log, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s supervisor: %(message)s", "%H:%M:%S"))
    library = logging.getLogger("tune_app")
    library.setLevel(logging.INFO)
    library.addHandler(handler)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    try:
        code = make().run(ended)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        code = MISTAKE
        end = Verdict(again=False, code=code, reason=f"its supervisor cannot run: {error}")
        logger.error("%s", end.reason)
        files.write_end(end)
    except Exception:
        # A full disk, for instance, which may have space again.
        logger.exception("the sweep's supervisor failed; it starts again")
        return CRASHED
    return 0 if code is None else code


def service_state() -> str:
    """What systemd says of the sweep's service: active, inactive, failed …"""
    try:
        # `show` rather than `is-active`, which reports the state in its exit code too.
        return systemctl("show", UNIT, "--property=ActiveState", "--value").strip()
    except ServiceError as error:
        raise ServiceError(
            f"{error}; sweeps run on the cluster's head: add --cluster cluster.yaml"
        ) from None


def _described(files: SweepFiles) -> str:
    try:
        return shlex.join(["python", "-m", "tune_app.sweep", *files.read_job()])
    except ValueError as error:
        return str(error)


def _ending(files: SweepFiles, state: str) -> str:
    """How the last sweep ended, when its service does not run."""
    end = files.read_end()
    if end is not None:
        return f"the last one has ended: {end.reason} ({files.log})"
    try:
        again = _command(shlex.join(["start", *files.read_job()]))
    except ValueError as error:
        return str(error)
    how = "supervisor of the last one failed" if state == FAILED_STATE else "last one was stopped"
    return f"the {how} ({files.log}); continue it with: {again}"


def _command(words: str) -> str:
    return f"python -m {COMMANDS} {words}"


def _hints() -> str:
    lines = [
        (_command("follow"), "its log from now on"),
        (_command("status"), "its cells, the rented machines and their cost"),
        (_command("stop"), "save and stop it; start continues it"),
    ]
    return "\n".join(
        ["From your own machine (add --cluster cluster.yaml), or on the head:"]
        + [f"  {command:<35} {what}" for command, what in lines]
    )
