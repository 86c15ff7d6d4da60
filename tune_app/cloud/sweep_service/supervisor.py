"""Runs a sweep on the head until it is through, over restarts of Ray and of itself."""

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tune_app.cloud.node.starting import answers
from tune_app.cloud.overlay.ray_arguments import ENVIRONMENT
from tune_app.cloud.whole_files import write_file
from tune_app.command_line import INTERRUPTED, MISTAKE

logger = logging.getLogger(__name__)

GIVEN_UP = 3
"""Exit code for a sweep that failed again and again; systemd is told not to try it anew."""
RAY_SILENT = 1
"""Exit code where Ray does not answer; systemd starts the driver anew."""
FAILURES = 3
"""Without a good run between. A cell whose code fails is tried once a run."""
MISTAKES = 8
"""The same where the system refused something, as a store that is away: about a quarter of an hour
with the pauses between."""
KILLS = 8
"""The same where a signal ended it, as when the memory runs out again and again."""
FAILED, REFUSED, KILLED = "failed", "refused", "killed"
_WISHES = (-signal.SIGINT, -signal.SIGTERM, INTERRUPTED)
"""Exit codes of a sweep that somebody ended."""
_OTHERS = ("plan", "status", "report")
_OURS = ("--address",)


@dataclass(frozen=True, kw_only=True)
class SweepFiles:
    """What is kept of a sweep that runs as a service."""

    folder: Path

    @property
    def job(self) -> Path:
        return self.folder / "sweep.json"

    @property
    def end(self) -> Path:
        """How it ended; not there before."""
        return self.folder / "sweep_end.json"

    @property
    def accepted(self) -> Path:
        """There once the sweep has begun to train."""
        return self.folder / "sweep_accepted"

    @property
    def log(self) -> Path:
        return self.folder / "sweep.log"

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Holds up whoever else starts a sweep meanwhile."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "sweep.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def write_job(self, arguments: Sequence[str]) -> None:
        """Keeps what is asked for, and begins its log; the last log stays beside it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.end.unlink(missing_ok=True)
        self.accepted.unlink(missing_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name("sweep.log.1"))
        self.log.touch(mode=0o600)
        job = {"arguments": list(arguments), "since": time.time()}
        write_file(self.job, json.dumps(job, indent=2), mode=0o600)

    def read_job(self) -> tuple[str, ...]:
        """The arguments. Raises ValueError where no sweep was started, or the file is damaged."""
        try:
            arguments = json.loads(self.job.read_text("utf-8"))["arguments"]
        except FileNotFoundError:
            raise ValueError("no sweep was started here; begin one with: start [SPACE]") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.job} is damaged ({error}); start the sweep again, it continues"
            ) from None
        if not isinstance(arguments, list) or not all(isinstance(one, str) for one in arguments):
            raise ValueError(f"{self.job} is damaged; start the sweep again, it continues")
        return tuple(arguments)

    def write_end(self, end: Verdict) -> None:
        write_file(self.end, json.dumps(asdict(end)), mode=0o600)

    def read_end(self) -> Verdict | None:
        """None where the sweep has not ended."""
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
    """Of the driver, where it is not run again."""
    failure: bool = False
    """Whether it counts as one of its kind."""


def checked_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """Arguments of a sweep. Raises ValueError for what a service cannot run."""
    if arguments and arguments[0] in _OTHERS:
        raise ValueError(
            f"{arguments[0]!r} is no sweep; run it directly: "
            f"{shlex.join(['python', '-m', 'tune_app.sweep', *arguments])}"
        )
    for argument in arguments:
        name = argument.partition("=")[0]
        if name in _OURS:
            raise ValueError(f"{name} is the cluster's own here; leave it out")
        if "\0" in argument:
            raise ValueError(f"the argument {argument!r} has a character that none may have")
    return tuple(arguments)


def verdict(code: int, *, failures: int, ray_restarted: bool, accepted: bool) -> Verdict:
    """Whether a sweep whose process has ended is run again. Pure.

    Args:
        code: its exit code; below 0 a signal's number.
        failures: of this one's kind before it, since the last good run.
        ray_restarted: whether Ray's head is another one than when it began, or was away.
        accepted: whether it has trained before, so that its arguments cannot be the reason.
    """
    if code == 0:
        return Verdict(again=False, reason="the sweep is through")
    # First of all: without its Ray a sweep ends like one that is refused.
    if ray_restarted:
        return Verdict(again=True, reason="Ray was started anew, or did not answer")
    if code == MISTAKE and not accepted:
        return Verdict(again=False, code=MISTAKE, reason="the sweep was refused; its log says why")
    if code in _WISHES:
        by = "an interruption" if code > 0 else _signal_name(-code)
        return Verdict(again=True, reason=f"it was ended by {by}, and not through its service")
    how = f"was ended by {_signal_name(-code)}" if code < 0 else f"failed with exit code {code}"
    if code == -signal.SIGKILL:
        how += ", as by a head that is out of memory"
    most = {FAILED: FAILURES, REFUSED: MISTAKES, KILLED: KILLS}[failure_kind(code)]
    if failures + 1 < most:
        why = f"it {how}, {failures + 1} of {most} times at most"
        return Verdict(again=True, failure=True, reason=why)
    why = f"it failed {failures + 1} times while Ray ran, and at last {how}"
    return Verdict(again=False, code=GIVEN_UP, reason=why)


def failure_kind(code: int) -> str:
    """Which failures are counted together, by the exit code."""
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
    """Runs one sweep after what `files` say.

    Args:
        started: the file that gets another id each time that Ray has started.
        ray: host and port at which Ray's head answers.
        home: working directory; results lie in its `runs`.
        variables: more of the sweep's environment.
        module: what is run.
        ray_s: how long Ray is waited for at a time.
        save_s: how long the sweep has to save after SIGINT, before SIGKILL.
        lost_s: the same where its Ray is gone, and little can be saved.
        pause_s: before a second try; doubles with each failure since the last good run.
        accepted_s: what runs for this long was not refused.
        good_s: a run of this length is good, and what failed before it is forgotten.
        steady_s: how long a Ray is looked at under which a sweep was refused.
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

    def run(self, ended: threading.Event) -> int | None:
        """Works until the sweep has ended or `ended` is set.

        Returns the driver's exit code; None where it was told to stop, and the sweep goes on with
        the next start. Raises ValueError where no sweep was started.
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
            accepted = self.files.accepted.exists()
            doubted = code == MISTAKE and not accepted
            steady = not doubted or self._is_steady(ray, ended)
            if code != 0 and not (doubted and steady):
                # A Ray that has died takes the sweep along before it is started anew.
                ended.wait(min(self.pause_s * 2 ** failures.total(), 300.0))
                if not self._wait_for_ray(ended):
                    return None if ended.is_set() else RAY_SILENT
            found = verdict(
                code,
                failures=failures[failure_kind(code)],
                ray_restarted=not steady or self._ray() != ray,
                accepted=accepted,
            )
            logger.info("%s%s", found.reason, "; once more" if found.again else "")
            if not found.again:
                self.files.write_end(found)
                return found.code
            if found.failure:
                failures[failure_kind(code)] += 1
        return None

    def _ray(self) -> str:
        """Which start of Ray is the newest; empty before the first."""
        try:
            return self.started.read_text("utf-8")
        except OSError:
            return ""

    def _is_steady(self, ray: str, ended: threading.Event) -> bool:
        """Whether Ray stays: one that dies takes the sweep along before it is seen to be dead."""
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
                env={**ENVIRONMENT, **os.environ, **self.variables},
                # A signal to the driver's group is not one to the sweep: it gets SIGINT alone.
                process_group=0,
            )
        accepted_at = time.monotonic() + self.accepted_s
        try:
            while process.poll() is None:
                if time.monotonic() > accepted_at:
                    self.files.accepted.touch()
                if ended.wait(self.look_s):
                    logger.info("told to stop; the sweep saves")
                    return self._end(process, self.save_s)
                if self._ray() != ray:
                    logger.warning("Ray ended under the sweep, which begins again")
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
    """What a sweep left behind."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
