"""The driver of a sweep: the command line as a person types it, started again after each death."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.cluster import ROOT
from tests.chaos.processes import kill_session


class Driver:
    """One sweep's command line.

    Args:
        arguments: of `python -m tune_app.sweep`.
        environment: of the process.
        log: gets what every start of it prints.
    """

    def __init__(
        self, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path
    ) -> None:
        self._command = [sys.executable, "-m", "tune_app.sweep", *arguments]
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.started_at = 0.0
        """Seconds since the epoch."""

    def start(self) -> None:
        assert not self.alive, "one driver at a time"
        self.starts += 1
        self.started_at = time.time()
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """Exit code of the last process; None while it runs."""
        assert self._process is not None, "it was never started"
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL, to its children too."""
        assert self._process is not None, "it was never started"
        kill_session(self._process.pid)
        self._process.wait()

    def wait(self, seconds: float) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        assert self._process is not None, "it was never started"
        return self._process.wait(seconds)

    def output(self) -> str:
        """What all starts of it have printed."""
        return self._log.read_text("utf-8", errors="replace") if self._log.exists() else ""
