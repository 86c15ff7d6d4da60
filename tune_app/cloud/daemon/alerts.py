"""Tells a person what needs one: by a command or a webhook, in the journal, in the sweep's log.

Each condition is told once, and again after an hour for as long as it holds. What was told is in a
file, so that a daemon which starts again and again does not tell it each time.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tune_app.cloud.whole_files import write_file

REPEAT_S = 3_600.0
TIMEOUT_S = 30.0

logger = logging.getLogger(__name__)


def due(holds: Mapping[str, str], told: Mapping[str, float], *, now: float) -> dict[str, str]:
    """The conditions that have to be told now. Pure.

    Args:
        holds: name and text of each that holds.
        told: when each was told last, in seconds since 1970.
    """
    return {
        name: text
        for name, text in holds.items()
        # A clock that was ahead must not silence anything for long.
        if not 0 <= now - told.get(name, float("-inf")) < REPEAT_S
    }


def deliver(text: str, to: str) -> None:
    """Sends a text to a webhook (http or https), or to a command as its last argument.

    Raises OSError, ValueError or httpx.HTTPError if that fails.
    """
    if to.startswith(("https://", "http://")):
        httpx.post(to, json={"text": text}, timeout=TIMEOUT_S).raise_for_status()
        return
    done = subprocess.run(
        [*shlex.split(to), text],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        env={"PATH": os.environ.get("PATH", os.defpath)},
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise OSError(f"{to} ended with {done.returncode}: {said[:200]}")


class Alerts:
    """The conditions that hold now, and what was told of them. Thread-safe.

    Args:
        cluster: its name stands in each text.
        to: a command or a webhook's address; empty for none.
        memory: the file of what was told.
    """

    def __init__(
        self,
        cluster: str,
        *,
        to: str,
        memory: Path,
        clock: Callable[[], float] = time.time,
        deliver: Callable[[str, str], object] = deliver,
    ) -> None:
        self._cluster = cluster
        self._to = to
        self._memory = memory
        self._clock = clock
        self._deliver = deliver
        self._told = _read(memory)
        self._holds: Mapping[str, str] = {}
        # The watch must not wait for somebody's web server.
        self._sending = ThreadPoolExecutor(1, thread_name_prefix="alerts")

    def texts(self) -> tuple[str, ...]:
        """What holds now."""
        return tuple(self._holds.values())

    def update(self, holds: Mapping[str, str]) -> None:
        """Says which conditions hold now; tells those that are due."""
        self._holds = dict(holds)
        now = self._clock()
        for name, text in due(holds, self._told, now=now).items():
            self._told[name] = now
            self._remember()
            logger.error("ALERT %s: %s", name, text)
            if self._to:
                self._sending.submit(self._send, f"stellux {self._cluster}: {text}")

    def close(self) -> None:
        """Returns when the last one is sent."""
        self._sending.shutdown(wait=True)

    def _send(self, text: str) -> None:
        try:
            self._deliver(text, self._to)
        except (OSError, ValueError, subprocess.SubprocessError, httpx.HTTPError) as error:
            logger.error("on_alert failed: %s", error)

    def _remember(self) -> None:
        try:
            write_file(self._memory, json.dumps(self._told), mode=0o600)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._memory, error)


def _read(memory: Path) -> dict[str, float]:
    """What was told; nothing if that is not known."""
    try:
        told = json.loads(memory.read_text("utf-8"))
        return {str(name): float(at) for name, at in told.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
