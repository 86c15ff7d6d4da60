"""A sweep as a service on the head: it goes on when whoever started it leaves.

python -m tune_app.cloud.driver start [ARGUMENTS]   of python -m tune_app.sweep
python -m tune_app.cloud.driver follow              what it says, from now on
python -m tune_app.cloud.driver status              whether it runs
python -m tune_app.cloud.driver stop                end it; start continues it
"""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import App, Parameter

from tune_app.cloud import head_paths as layout
from tune_app.cloud.head.services import ServiceError, systemctl
from tune_app.cloud.head.units import SWEEP
from tune_app.cloud.node.settings import load_head_settings
from tune_app.cloud.overlay.addresses import HEAD, address
from tune_app.cloud.overlay.settings import load_overlay_settings
from tune_app.cloud.overlay.worker_script import store_url
from tune_app.cloud.sweep_service.supervisor import Driver, SweepFiles, Verdict, checked_arguments
from tune_app.command_line import MISTAKE, run_command
from tune_app.sweep.__main__ import MODULE as SWEEP_MODULE
from tune_app.sweep.store_location import STORE_VARIABLE

MODULE = "tune_app.cloud.driver"
UNIT = SWEEP.removesuffix(".service")
"""As sudoers(5) allows it, to the letter."""
RUNNING = {"active", "activating", "deactivating", "reloading"}
FAILED_STATE = "failed"
CRASHED = 1
"""Exit code where the driver itself failed."""
LAST_LINES = 5
_RESULTS = """\
Bring its results home, and give back all that is rented, from your own machine:
  python -m tune_app.cloud fetch --cluster cluster.yaml
  ray down cluster.yaml"""

logger = logging.getLogger(MODULE)

app = App(
    name=f"python -m {MODULE}",
    help="""Run a sweep on this cluster, as a service of its head.

    From your own machine:

    ray exec cluster.yaml 'python -m tune_app.cloud.driver start embedding_glu --tokens 5M'""",
    help_format="plaintext",
    version_flags=[],
)


def usual_files() -> SweepFiles:
    return SweepFiles(folder=Path.home() / ".stellux")


@app.command
def start(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Start a sweep, or continue it, and show what it says until it ends.

    Parameters
    ----------
    arguments
        Of python -m tune_app.sweep, all but --address.
    """
    return start_sweep(usual_files(), arguments)


@app.command
def follow() -> int:
    """Show what the sweep says, until it ends. Ctrl-C leaves the sweep alone."""
    return follow_sweep(usual_files(), sys.stdout)


@app.command
def status() -> int:
    """Say whether a sweep runs, and the last that it said. Exit code 3 where none runs."""
    return show_status(usual_files(), sys.stdout)


@app.command
def stop() -> int:
    """End the sweep. It saves first, and goes on when it is started again."""
    return stop_sweep(usual_files(), sys.stdout)


@app.command
def run() -> int:
    """What the service runs."""
    files = usual_files()
    return run_service(files, lambda: usual_driver(files))


def usual_driver(files: SweepFiles) -> Driver:
    """Raises ValueError or OSError where the head's settings cannot be read."""
    settings = load_head_settings(layout.HEAD_SETTINGS)
    overlay = load_overlay_settings(layout.OVERLAY_SETTINGS)
    return Driver(
        files=files,
        started=Path(settings.started).expanduser(),
        ray=(address(HEAD), settings.gcs_port),
        home=Path.home(),
        variables={STORE_VARIABLE: store_url(overlay, layout.STORE)},
    )


def start_sweep(files: SweepFiles, arguments: tuple[str, ...]) -> int:
    """Raises ValueError where a sweep runs, ServiceError where systemd does not start it."""
    wanted = checked_arguments(arguments)
    with files.starting():
        if service_state() in RUNNING:
            raise ValueError(
                f"a sweep runs already: {_described(files)}; see it with {_command('follow')}, end "
                f"it with {_command('stop')}"
            )
        files.write_job(wanted)
        systemctl("enable", "--now", UNIT, as_root=True)
    return follow_sweep(files, sys.stdout, from_start=True)


def follow_sweep(
    files: SweepFiles, out: TextIO, *, from_start: bool = False, look_s: float = 0.5
) -> int:
    """Copies the log until the service has ended. Returns the driver's exit code.

    Raises ValueError where no sweep runs.
    """
    state = service_state()
    if not from_start and state not in RUNNING:
        raise ValueError(f"no sweep runs; {_ending(files, state)}")
    out.write(f"The sweep is a service of the head: you may leave.\n{_hints()}\n")
    try:
        with files.log.open("r", encoding="utf-8", errors="replace") as log:
            if not from_start:
                log.seek(max(0, files.log.stat().st_size - 2_000))
                log.readline()
            while True:
                # Asked before the log is read: what it says last is not missed.
                state = service_state()
                out.write(log.read())
                out.flush()
                if state not in RUNNING:
                    break
                time.sleep(look_s)
    except KeyboardInterrupt:
        out.write(f"\nThe sweep goes on.\n{_hints()}\n")
        return 0
    out.write(f"{_ending(files, state)}\n")
    end = files.read_end()
    if end is None:
        return CRASHED if state == FAILED_STATE else 0
    if end.code == 0:
        out.write(f"{_RESULTS}\n")
    return end.code


def show_status(files: SweepFiles, out: TextIO) -> int:
    """Returns 0 where a sweep runs, else 3, as systemctl does."""
    state = service_state()
    if state not in RUNNING:
        out.write(f"no sweep runs; {_ending(files, state)}\n")
        return 3
    out.write(f"{state}: {_described(files)}\n")
    lines = files.log.read_text("utf-8", errors="replace").splitlines()[-LAST_LINES:]
    out.writelines(f"  {line}\n" for line in lines)
    out.write(f"{_hints()}\n")
    return 0


def stop_sweep(files: SweepFiles, out: TextIO) -> int:
    """Raises ValueError where no sweep runs, ServiceError where systemd does not end it."""
    if (state := service_state()) not in RUNNING:
        raise ValueError(f"no sweep runs; {_ending(files, state)}")
    out.write("the sweep saves; this takes up to 90 s\n")
    out.flush()
    systemctl("disable", "--now", UNIT, as_root=True)
    again = shlex.join(["start", *files.read_job()])
    out.write(f"The sweep has stopped. Continue it with: {_command(again)}\n")
    return 0


def run_service(files: SweepFiles, make: Callable[[], Driver]) -> int:
    """Runs the sweep until it ends, or until SIGTERM; disables the service where it has ended.

    What keeps the driver itself from its work goes into the sweep's log, where people look. A
    mistake ends the sweep; after anything else systemd starts the driver anew.
    """
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = logging.FileHandler(files.log, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s driver: %(message)s", "%H:%M:%S"))
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
        end = Verdict(again=False, code=code, reason=f"its driver cannot run: {error}")
        logger.error("%s", end.reason)
        files.write_end(end)
    except Exception:
        # Such as a full disk, which may have room again.
        logger.exception("the sweep's driver failed; it is started anew")
        return CRASHED
    if code is None:
        return 0
    if files.read_end() is not None:
        try:
            systemctl("disable", UNIT, as_root=True)
        except ServiceError as error:
            logger.warning("the sweep has ended, and would run again after a reboot: %s", error)
    return code


def service_state() -> str:
    """What systemd says of the sweep's service: active, inactive, failed …"""
    try:
        # `show` rather than `is-active`, whose exit code says the same again.
        return systemctl("show", UNIT, "--property=ActiveState", "--value").strip()
    except ServiceError as error:
        raise ServiceError(f"{error}; sweeps run on the cluster's head: ray exec …") from None


def _described(files: SweepFiles) -> str:
    try:
        return shlex.join(["python", "-m", "tune_app.sweep", *files.read_job()])
    except ValueError as error:
        return str(error)


def _ending(files: SweepFiles, state: str) -> str:
    """What became of the last sweep, whose service is in a state of no running one."""
    end = files.read_end()
    if end is not None:
        return f"the last one ended: {end.reason} ({files.log})"
    try:
        again = _command(shlex.join(["start", *files.read_job()]))
    except ValueError as error:
        return str(error)
    how = "driver of the last one failed" if state == FAILED_STATE else "last one was stopped"
    return f"the {how} ({files.log}); continue it with: {again}"


def _command(words: str) -> str:
    return f"python -m {MODULE} {words}"


def _hints() -> str:
    lines = [
        (_command("follow"), "what it says, from now on"),
        (f"python -m {SWEEP_MODULE} status NAME", "how far its cells are"),
        (_command("stop"), "save and end it; start continues it"),
    ]
    return "\n".join(
        ["On the head, or from your own machine by ray exec cluster.yaml '…':"]
        + [f"  {command:<42} {what}" for command, what in lines]
    )


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
