"""Runs the sweep's driver, `tune_app.sweep`, over restarts of Ray, of the head and of itself."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tune_app.cloud.node.starting import answers
from tune_app.cloud.overlay.ray_arguments import ENVIRONMENT
from tune_app.cloud.sweep_service.hub_token import store_token, with_token
from tune_app.cloud.whole_files import write_file
from tune_app.command_line import INTERRUPTED, MISTAKE, OUT_OF_DOLLARS

logger = logging.getLogger(__name__)

GIVEN_UP = 3
"""Exit code for a sweep that failed again and again; its unit does not restart it."""
RAY_SILENT = 1
"""Exit code if Ray does not answer; systemd restarts the supervisor."""
FAILURES = 3
"""In a row, without a good run between. A cell whose code fails is tried once a run."""
MISTAKES = 8
"""The same if the system refused something, such as a store that is down: with the pauses, about a
quarter of an hour."""
KILLS = 8
"""The same if a signal ended it, as when the memory runs out again and again."""
FAILED, REFUSED, KILLED = "failed", "refused", "killed"
_INTERRUPTIONS = (-signal.SIGINT, -signal.SIGTERM, INTERRUPTED)
"""Exit codes of a sweep that somebody ended."""
_OTHER_COMMANDS = ("plan", "status", "report")
_SET_HERE = ("--address",)


@dataclass(frozen=True, kw_only=True)
class SweepFiles:
    """The files of a sweep that runs as a service."""

    folder: Path

    @property
    def job(self) -> Path:
        return self.folder / "sweep.json"

    @property
    def end(self) -> Path:
        """How it ended; missing before."""
        return self.folder / "sweep_end.json"

    @property
    def accepted(self) -> Path:
        """Exists once the sweep has started to train."""
        return self.folder / "sweep_accepted"

    @property
    def token(self) -> Path:
        """The hub's token, while a sweep needs it (`hub_token`)."""
        return self.folder / "hub_token"

    @property
    def log(self) -> Path:
        return self.folder / "sweep.log"

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Makes a second start wait until this one is done."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "sweep.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def write_job(self, arguments: Sequence[str]) -> None:
        """Writes the sweep's arguments, and starts its log; the last log stays beside it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.end.unlink(missing_ok=True)
        self.accepted.unlink(missing_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name("sweep.log.1"))
        self.log.touch(mode=0o600)
        job = {"arguments": list(arguments), "since": time.time()}
        write_file(self.job, json.dumps(job, indent=2), mode=0o600)

    def read_job(self) -> tuple[str, ...]:
        """The arguments. Raises ValueError if no sweep was started, or the file is damaged."""
        try:
            arguments = json.loads(self.job.read_text("utf-8"))["arguments"]
        except FileNotFoundError:
            raise ValueError("no sweep was started here; start one with: start [SPACE]") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.job} is damaged ({error}); start the sweep again; it continues"
            ) from None
        if not isinstance(arguments, list) or not all(isinstance(one, str) for one in arguments):
            raise ValueError(f"{self.job} is damaged; start the sweep again; it continues")
        return tuple(arguments)

    def write_end(self, end: Verdict) -> None:
        store_token("", self.token)
        write_file(self.end, json.dumps(asdict(end)), mode=0o600)

    def read_end(self) -> Verdict | None:
        """None if the sweep has not ended."""
        try:
            return Verdict(**json.loads(self.end.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What follows from the end of a sweep's process."""

    again: bool
    reason: str
    code: int = 0
    """The supervisor's exit code, if the sweep is not run again."""
    failure: bool = False
    """Whether it counts as one of its kind."""


def checked_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """A sweep's arguments. Raises ValueError for those that a service cannot run."""
    if arguments and arguments[0] in _OTHER_COMMANDS:
        raise ValueError(
            f"{arguments[0]!r} is not a sweep; run it directly: "
            f"{shlex.join(['python', '-m', 'tune_app.sweep', *arguments])}"
        )
    for argument in arguments:
        name = argument.partition("=")[0]
        if name in _SET_HERE:
            raise ValueError(f"{name} is set by the cluster; leave it out")
        if "\0" in argument:
            raise ValueError(f"the argument {argument!r} has a NUL character; remove it")
    return tuple(arguments)


def verdict(
    code: int, *, failures: int, ray_restarted: bool, accepted: bool, drained: bool = False
) -> Verdict:
    """Whether a sweep whose process has ended is run again. Pure.

    Args:
        code: its exit code; below 0 a signal's number.
        failures: of the same kind before it, since the last good run.
        ray_restarted: whether Ray's head has restarted since it began, or did not answer.
        accepted: whether it has trained before, so that its arguments are not at fault.
        drained: whether it has saved its cells because the cluster was ending its machines.
    """
    if code in (0, OUT_OF_DOLLARS):
        return _saved_or_complete(code, drained=drained)
    # Before all else: a sweep that loses its Ray ends like one that is refused.
    if ray_restarted:
        return Verdict(again=True, reason="Ray restarted, or did not answer")
    if code == MISTAKE and not accepted:
        return Verdict(again=False, code=MISTAKE, reason="the sweep was refused; its log says why")
    if code in _INTERRUPTIONS:
        by = "an interruption" if code > 0 else _signal_name(-code)
        return Verdict(again=True, reason=f"it was ended by {by}, not through its service")
    how = f"was ended by {_signal_name(-code)}" if code < 0 else f"failed with exit code {code}"
    if code == -signal.SIGKILL:
        how += ", as when the head runs out of memory"
    most = {FAILED: FAILURES, REFUSED: MISTAKES, KILLED: KILLS}[failure_kind(code)]
    if failures + 1 < most:
        why = f"it {how}, {failures + 1} of at most {most} times"
        return Verdict(again=True, failure=True, reason=why)
    why = f"it failed {failures + 1} times while Ray ran; the last time it {how}"
    return Verdict(again=False, code=GIVEN_UP, reason=why)


def _saved_or_complete(code: int, *, drained: bool) -> Verdict:
    if code == 0:
        return Verdict(again=False, reason="the sweep is complete")
    if drained:
        return Verdict(again=True, reason="the cluster has dollars again")
    return Verdict(
        again=False,
        code=code,
        reason="the sweep has spent its --max-dollars; start it with a higher one to go on",
    )


def failure_kind(code: int) -> str:
    """Which failures count together, by the exit code."""
    if code < 0:
        return KILLED
    return REFUSED if code == MISTAKE else FAILED


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


@dataclass(frozen=True, kw_only=True)
class SweepSupervisor:
    """Runs the sweep that `files` describe.

    Args:
        started: the file that gets a new id each time Ray has started.
        ray: host and port of Ray's head.
        home: working directory; results are in its `runs`.
        variables: added to the sweep's environment.
        module: of the driver.
        ray_s: how long to wait for Ray at a time.
        save_s: how long the sweep has to save after SIGINT, before SIGKILL.
        lost_s: the same if its Ray is gone, and little can be saved.
        pause_s: before a second try; doubles with each failure since the last good run.
        accepted_s: a run of this length was not refused.
        good_s: a run of this length is good, and resets the count of failures.
        steady_s: how long Ray is watched after a sweep was refused.
        drains: says why the cluster ends its machines now; empty if it does not.
        drains_s: how often it is asked while a sweep waits for the end of that.
    """

    files: SweepFiles
    started: Path
    ray: tuple[str, int]
    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    module: str = "tune_app.sweep"
    ray_s: float = 300.0
    save_s: float = 90.0
    lost_s: float = 20.0
    pause_s: float = 10.0
    accepted_s: float = 60.0
    good_s: float = 3600.0
    steady_s: float = 5.0
    look_s: float = 0.5
    drains: Callable[[], str] = str
    drains_s: float = 15.0

    def run(self, ended: threading.Event) -> int | None:
        """Runs until the sweep has ended or `ended` is set.

        Returns the supervisor's exit code; None if it was stopped, so that the next start continues
        the sweep. Raises ValueError if no sweep was started.
        """
        arguments = self.files.read_job()
        failures: Counter[str] = Counter()
        while not ended.is_set():
            if not self._wait_for_ray(ended):
                return None if ended.is_set() else RAY_SILENT
            ray, began = self._ray(), time.monotonic()
            code = self._sweep(arguments, ray, ended)
            if ended.is_set():
                break
            if time.monotonic() - began >= self.good_s:
                failures.clear()
            drained = code == OUT_OF_DOLLARS and self._wait_for_dollars(ended)
            if ended.is_set():
                break
            accepted = self.files.accepted.exists()
            doubted = code == MISTAKE and not accepted
            steady = not doubted or self._is_steady(ray, ended)
            if code not in (0, OUT_OF_DOLLARS) and not (doubted and steady):
                # When Ray dies, the sweep ends before Ray restarts.
                ended.wait(min(self.pause_s * 2 ** failures.total(), 300.0))
                if not self._wait_for_ray(ended):
                    return None if ended.is_set() else RAY_SILENT
            found = verdict(
                code,
                failures=failures[failure_kind(code)],
                ray_restarted=not steady or self._ray() != ray,
                accepted=accepted,
                drained=drained,
            )
            logger.info("%s%s", found.reason, "; running it again" if found.again else "")
            if not found.again:
                self.files.write_end(found)
                return found.code
            if found.failure:
                failures[failure_kind(code)] += 1
        return None

    def _wait_for_dollars(self, ended: threading.Event) -> bool:
        """Waits while the cluster ends its machines, for days if need be; whether it did."""
        reason = self.drains()
        if reason:
            logger.info("the sweep is saved and waits: %s", reason)
        drained = bool(reason)
        while reason and not ended.wait(self.drains_s):
            reason = self.drains()
        return drained

    def _ray(self) -> str:
        """The id of Ray's newest start; empty before the first."""
        try:
            return self.started.read_text("utf-8")
        except OSError:
            return ""

    def _is_steady(self, ray: str, ended: threading.Event) -> bool:
        """Whether Ray stays up: when it dies, the sweep ends before Ray is seen to be dead."""
        until = time.monotonic() + self.steady_s
        while True:
            if self._ray() != ray or not answers(*self.ray):
                return False
            if time.monotonic() > until or ended.wait(self.look_s):
                return True

    def _wait_for_ray(self, ended: threading.Event) -> bool:
        until, told = time.monotonic() + self.ray_s, False
        while not ended.is_set():
            if self._ray() and answers(*self.ray):
                return True
            if time.monotonic() > until:
                logger.warning("Ray does not answer at %s:%d after %.0f s", *self.ray, self.ray_s)
                return False
            if not told:
                logger.info("waiting for Ray at %s:%d", *self.ray)
                told = True
            ended.wait(self.look_s)
        return False

    def _sweep(self, arguments: Sequence[str], ray: str, ended: threading.Event) -> int:
        """Runs the sweep's process once; returns its exit code."""
        words = [*arguments, "--address", "auto"]
        logger.info("python -m %s %s", self.module, shlex.join(words))
        with self.files.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env={**ENVIRONMENT, **os.environ, **with_token(self.files.token), **self.variables},
                # A signal to the supervisor's group must not reach the sweep, which gets SIGINT.
                process_group=0,
            )
        accepted_at = time.monotonic() + self.accepted_s
        try:
            while process.poll() is None:
                if time.monotonic() > accepted_at:
                    self.files.accepted.touch()
                if ended.wait(self.look_s):
                    logger.info("stopping; the sweep saves")
                    return self._end(process, self.save_s)
                if self._ray() != ray:
                    logger.warning("Ray ended under the sweep, which restarts")
                    return self._end(process, self.lost_s)
            if process.returncode != MISTAKE:
                self.files.accepted.touch()
            return process.returncode
        finally:
            _kill_group(process.pid)
            process.wait()

    def _end(self, process: subprocess.Popen[bytes], within_s: float) -> int:
        process.send_signal(signal.SIGINT)
        try:
            return process.wait(within_s)
        except subprocess.TimeoutExpired:
            logger.warning("the sweep did not end within %.0f s; it is killed", within_s)
            process.kill()
            return process.wait()


def _kill_group(group: int) -> None:
    """Kills processes that a sweep left behind."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
