"""The curves on Weights & Biases, if requested: one run per cell, grouped by sweep.

Offline runs are kept in the sweep's folder and need no account; the summary at the end of a sweep
has the command that uploads them.

A background thread sends everything, so that a slow network or a failing service never delays the
sweep.
"""

from __future__ import annotations

import hashlib
import logging
import netrc
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from tune_app import formats
from tune_app.journal.journal import Journal
from tune_app.journal.listener import QuietListener
from tune_app.journal.records import (
    Action,
    CellRecord,
    Decision,
    Failure,
    Observation,
    Status,
    SweepRecord,
)
from tune_app.results.mirrors.scalars import group_of, scalars_of

logger = logging.getLogger(__name__)

Mode = Literal["offline", "online"]

_PATIENCE = 120.0
"""Seconds that the end of a sweep waits for unsent data."""


class WandbListener(QuietListener):
    """Sends the events of a sweep to W&B.

    Args:
        folder: of the sweep; W&B creates a folder `wandb` in it.
        mode: `offline` or `online`.
        patience: seconds that the end of the sweep waits for unsent data.

    Raises ValueError for another mode, and for `online` without a key.
    """

    def __init__(self, folder: Path, mode: str, *, patience: float = _PATIENCE) -> None:
        self._folder = folder
        self._mode = checked_mode(mode)
        self._patience = patience
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._sweep: SweepRecord | None = None
        self._cells: dict[str, CellRecord] = {}
        self._runs: dict[str, Any] = {}

    def sweep_started(self, journal: Journal) -> None:
        self._sweep = journal.sweep()
        self._cells = {cell.key: cell for cell in journal.cells()}
        self._thread.start()

    def observed(self, observation: Observation, decision: Decision | None) -> None:
        self._jobs.put(lambda: self._log(observation, decision))

    def cell_failed(self, failure: Failure) -> None:
        if failure.ended:
            self._jobs.put(lambda: self._finish(failure.cell, Status.FAILED, failure.reason))

    def sweep_ended(self) -> None:
        self._jobs.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            logger.warning(
                "W&B is still sending after %g s; the sweep ends without it", self._patience
            )

    def _work(self) -> None:
        """Runs queued jobs until the sweep ends or one fails."""
        try:
            while (job := self._jobs.get()) is not None:
                job()
            for run in self._runs.values():
                run.finish()
        except Exception as error:
            logger.warning(
                "W&B failed and is switched off; the sweep continues and its journal has "
                "everything (%s: %s)",
                type(error).__name__,
                formats.one_line(str(error)),
            )

    def _run(self, key: str) -> Any:
        if key not in self._runs:
            assert self._sweep is not None
            self._runs[key] = begun_run(
                self._sweep, self._cells[key], folder=self._folder, mode=self._mode
            )
        return self._runs[key]

    def _log(self, observation: Observation, decision: Decision | None) -> None:
        values = {"tokens": observation.baseline_tokens, **scalars_of(observation)}
        self._run(observation.cell).log(values, step=observation.baseline_tokens)
        if decision is not None and decision.action.ends:
            stopped = decision.action is Action.STOP
            status = Status.STOPPED if stopped else Status.FINISHED
            self._finish(observation.cell, status, decision.reason)

    def _finish(self, key: str, status: Status, reason: str) -> None:
        run = self._run(key)
        run.summary.update({"status": status.value, "reason": reason})
        run.finish(exit_code=1 if status is Status.FAILED else 0)
        del self._runs[key]


def checked_mode(mode: str) -> Mode:
    """The mode of this name. Raises ValueError for another one, and for `online` without a key."""
    if mode not in get_args(Mode):
        raise ValueError(f"W&B's mode is {mode!r}; it must be one of off, offline, online")
    if mode == "online" and not _has_key():
        raise ValueError(
            "W&B online needs a key and found none; set WANDB_API_KEY, run `wandb login`, "
            "or use --wandb offline and `wandb sync` later"
        )
    return "online" if mode == "online" else "offline"


def begun_run(sweep: SweepRecord, cell: CellRecord, *, folder: Path, mode: Mode) -> Any:
    """The run of a cell: a new one, or the one that it has, which goes on."""
    import wandb  # noqa: PLC0415 - takes seconds

    identity = f"{sweep.begun_as} {sweep.created_at} {cell.key}"
    return wandb.init(
        project=os.environ.get("WANDB_PROJECT", "stellux"),
        group=group_of(sweep),
        name=cell.label,
        id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        dir=folder,
        config={**cell.values, "solved": cell.config, "parameters": cell.parameters},
        mode=mode,
        # A continued sweep continues its runs; `wandb sync` joins offline ones.
        resume="allow" if mode == "online" else None,
        reinit="create_new",
        save_code=False,
        settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
    )


def _has_key() -> bool:
    """Whether a key is in the environment or saved by `wandb login`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    path = os.environ.get("NETRC") or Path.home() / ".netrc"
    try:
        return host is not None and netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
