"""Runs the Trial of a cell as a Tune trainable; the process is reused for the next cell.

While the last checkpoint of a cell is being stored, the process may train the next one, whose
reports then bring the former one's last observation. Nothing that can be decided on both comes in
another order for that.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
import traceback
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from model.training.compiler import Compiler
from model.training.gpu_errors import told_by
from tune_app.cluster.corpus_fetch import TokenFetch
from tune_app.cluster.packing import share_of_memory
from tune_app.devices import device_memory, gpu_model, limit_memory, use_threads
from tune_app.faults.oom_kills import oom_kills
from tune_app.faults.policy import classify
from tune_app.faults.reasons import reason_of
from tune_app.journal.records import FailureClass, Observation
from tune_app.on_ray.hang_watchdog import HangWatchdog
from tune_app.on_ray.messages import (
    CELL,
    CHECKPOINT,
    DAMAGED,
    EAGER,
    EARLY,
    ERROR,
    FORMER,
    GPU,
    HOST,
    KIND,
    OBSERVATION,
    OOM_KILLS,
    PROCESS,
    REASON,
    RESUMED_FROM,
    STORING,
    TOKENS,
    UNPRUNED,
    WARNINGS,
    WORKER,
)
from tune_app.plan.cell import Cell
from tune_app.plan.solved import SolvedModels
from tune_app.stores.base import StoreUnreachableError
from tune_app.stores.open import open_store
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoints import Checkpoints, Superseding
from tune_app.trial.shipped_code import shipped_code
from tune_app.trial.trial import Trial
from tune_app.trial.unstored import Unstored

logger = logging.getLogger(__name__)

WORKER_VARIABLE = "STELLUX_K"
"""Set on a cluster's rented workers: their number."""
SLICE_SECONDS = 1.0
"""Longest time between two reports, so that a sweep can be watched and ended at any time."""
STORE_PATIENCE = 15 * 60.0
"""Seconds that a cell waits for a store that does not answer, before it is tried elsewhere."""
_FORMER_PATIENCE = 25.0
"""Seconds that a process which ends waits for the former cell's checkpoint; with what `save` takes,
less than the driver gives it."""
_RETRY_PAUSE = 5.0
_EARLY_PAUSE = 10.0
"""Keeps a broken machine from failing every cell of the sweep within a minute."""


class RetryError(Exception):
    """Ends an attempt whose error has been reported, so that Tune starts the next one."""


class CellTrainable(tune.Trainable):
    """Trains one cell after another.

    An error in the trial's process is sent as a report, and the driver decides what to do. Tune
    sees a failure only when a process or a host is lost, or when an attempt is to be repeated.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._trial: Trial | None = None
        self._checkpoints: Checkpoints | None = None
        self._former: Unstored | None = None
        """The cell before, while its end is not reported."""
        self._late: Unstored | None = None
        """The one whose end was reported; if its store took too long, it may still be sending."""
        self._kept_back: Observation | None = None
        """Of this cell, while the former one's end has to be reported first."""
        self._reported = 0
        """Baseline tokens of this cell's newest observation that was reported."""
        self._config = config
        # Stores for all cells of the process, so that connections are reused: a store that takes a
        # checkpoint answers nobody else, so a cell has another one than the cell before.
        self._stores = [open_store(config["checkpoints"]) for _ in range(2)]
        self._compiler = Compiler(shipped_code(config["checkpoints"], config["share_compiled"]))
        self._failed: FailureClass | None = None
        self._failed_early = False
        self._corpora: dict[str, PreparedCorpus] = {}
        self._fetch: TokenFetch | None = None
        self._waiting_since: float | None = None
        node = ray.get_runtime_context().get_node_id()
        self._host = f"{platform.node()}/{node[:8]}"
        number = os.environ.get(WORKER_VARIABLE, "")
        self._worker = int(number) if number.isdecimal() else None
        self._gpu = gpu_model(config["device"])
        self._keep_to_share(config["gpus"])
        self._warnings = _Warnings()
        logging.getLogger().addHandler(self._warnings)

    def _keep_to_share(self, gpus: float) -> None:
        """Leaves the memory of the others on a GPU that this process has a part of."""
        device = self._config["device"]
        if device.startswith("cuda") and 0 < gpus < 1:
            limit_memory(device, share_of_memory(gpus, device_memory(device)))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._close_late()
        if self._trial is not None and self._trial.only_stores and self._former is None:
            self._former, self._trial = self._trial.leave(), None
            self._stores.reverse()
        self._end_trial()
        self._failed = self._waiting_since = None
        self._config = new_config
        return True

    def step(self) -> dict[str, Any]:
        with HangWatchdog(self._config["hang_s"]):
            return self._step()

    def _step(self) -> dict[str, Any]:
        if self._failed is not None and self._former is None:
            if self._failed_early:
                time.sleep(_EARLY_PAUSE)
            elif self._failed is FailureClass.STORAGE:
                time.sleep(_RETRY_PAUSE)
            raise RetryError("the attempt ended with an error, which was reported")
        report: dict[str, Any] = {
            HOST: self._host,
            WORKER: self._worker,
            GPU: self._gpu,
            PROCESS: os.getpid(),
            OOM_KILLS: oom_kills(),
            FORMER: self._end_of_former(SLICE_SECONDS if self._failed is not None else 0.0),
        }
        if self._failed is not None:
            return report | {WARNINGS: self._warnings.taken()}
        try:
            if self._trial is None:
                if not self._corpora_are_here():
                    return report | {WARNINGS: self._warnings.taken()}
                self._trial = self._start()
                report[RESUMED_FROM] = self._trial.resumed_from
                report[DAMAGED] = list(self._trial.damaged)
            observation = self._next_observation(self._trial)
        except Exception as raised:
            error = told_by(raised, device=self._config["device"]) or raised
            if isinstance(error, torch.AcceleratorError):
                # Every later cell in this process would fail too.
                logger.exception(
                    "the GPU is lost; this process ends, and the cell goes on elsewhere"
                )
                self._wait_for_former()
                os._exit(1)
            if self._trial is None and self._may_wait(error):
                return report | {WARNINGS: self._warnings.taken()}
            tokens = 0 if self._trial is None else self._trial.tokens
            self._failed_early = self._trial is None or tokens == self._trial.resumed_from
            self._end_trial()
            self._failed = classify(error)
            return report | {
                ERROR: traceback.format_exc(),
                REASON: reason_of(error),
                EARLY: self._failed_early,
                KIND: self._failed.value,
                TOKENS: tokens,
                WARNINGS: self._warnings.taken(),
            }
        if observation is not None:
            report[OBSERVATION] = json.dumps(observation.to_values())
        assert self._checkpoints is not None
        return report | {
            TOKENS: self._trial.tokens,
            STORING: self._former is None and self._trial.only_stores,
            **_stored(self._trial.stored, self._checkpoints.unpruned),
            EAGER: self._trial.compile_failure,
            WARNINGS: self._warnings.taken(),
        }

    def cleanup(self) -> None:
        """Saves the running cell when a sweep is interrupted; waits for the former one's model."""
        try:
            if self._trial is not None and not self._trial.finished:
                self._trial.save()
        except OSError:
            logger.exception("the last checkpoint could not be written; the previous one is kept")
        finally:
            self._wait_for_former()
            self._close_late()
            self._end_trial()
            for store in self._stores:
                store.close()

    def _next_observation(self, trial: Trial) -> Observation | None:
        """The next observation of the cell that may be reported now; None if there is none yet."""
        if self._kept_back is None:
            self._kept_back = trial.advance(at_most=SLICE_SECONDS)
        observation = self._kept_back
        if observation is None:
            return None
        if self._former is not None and self._former.comes_before(
            observation, before=self._reported, timing=CheckpointTiming(**self._config["timing"])
        ):
            self._former.may_be_reported(SLICE_SECONDS)
            return None
        self._kept_back, self._reported = None, observation.baseline_tokens
        return observation

    def _end_of_former(self, at_most: float) -> str | None:
        """The message of the former cell's end, once; None as long as it may not be reported.

        at_most: seconds to wait for it.
        """
        former = self._former
        if former is None or not former.may_be_reported(at_most):
            return None
        # To close it may take as long as an upload does, and this cell is not to wait for that.
        self._former, self._late = None, former
        return json.dumps(
            {
                CELL: former.cell,
                OBSERVATION: former.observation.to_values(),
                **_stored(former.stored, former.unpruned),
            }
        )

    def _wait_for_former(self) -> None:
        """Before the process ends. What it can no longer report is read from the checkpoint."""
        if self._former is not None:
            self._former.may_be_reported(_FORMER_PATIENCE)
            self._former.close()

    def _close_late(self) -> None:
        if self._late is not None:
            self._late.close()
        self._late = None

    def _start(self) -> Trial:
        use_threads(self._config["threads"])
        cell = self._config[CELL]
        self._checkpoints = Checkpoints(
            self._stores[0],
            cell=cell["key"],
            former_key=cell["former_key"],
            **self._config["kept_checkpoints"],
        )
        return Trial(
            Cell.from_values(cell["values"]),
            solved=None if cell["solved"] is None else SolvedModels.from_values(cell["solved"]),
            corpora=self._corpus,
            checkpoints=self._checkpoints,
            timing=CheckpointTiming(**self._config["timing"]),
            micro_batch_size=cell["micro_batch_size"],
            device=self._config["device"],
            compiler=self._compiler,
            cuda_graph=self._config["cuda_graph"],
        )

    def _may_wait(self, error: Exception) -> bool:
        """Whether to ask the store again in the next step; if so, waits a moment."""
        # A fetch does its own waiting.
        if not isinstance(error, StoreUnreachableError) or self._fetch is not None:
            return False
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
            logger.warning("waiting for the checkpoint store: %s", error)
        time.sleep(SLICE_SECONDS)
        return now - self._waiting_since < STORE_PATIENCE

    def _end_trial(self) -> None:
        if self._trial is not None:
            self._trial.close()
        self._trial = self._kept_back = None
        self._reported = 0
        if self._fetch is not None:
            self._fetch.cancel()
        self._fetch = None

    def _corpora_are_here(self) -> bool:
        """Whether this machine has the cell's corpora; if not, fetches them and waits a moment.

        Raises StoreError or OSError if they cannot be fetched.
        """
        tokens = self._config["tokens"]
        cell = Cell.from_values(self._config[CELL]["values"])
        wanted = {cell.tokenizer.key, cell.baseline_tokenizer.key} - self._corpora.keys()
        if tokens is None or not wanted:
            return True
        if self._fetch is None:
            self._fetch = TokenFetch(tokens, sorted(wanted))
        if not self._fetch.done(at_most=SLICE_SECONDS):
            return False
        self._corpora.update(self._fetch.corpora)
        self._fetch = None
        return True

    def _corpus(self, tokenizer: TokenizerSpec) -> PreparedCorpus:
        if self._config["tokens"] is None:
            return PreparedCorpus.open(Path(self._config["corpora"][tokenizer.key]))
        return self._corpora[tokenizer.key]


def _stored(name: str | None, unpruned: Superseding | None) -> dict[str, str | None]:
    """What a report says of a cell's checkpoints."""
    return {CHECKPOINT: name, UNPRUNED: None if unpruned is None else unpruned.json}


class _Warnings(logging.Handler):
    """Collects logged warnings, so that the driver can show them to the user."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record.getMessage())

    def taken(self) -> list[str]:
        """The warnings since the last call."""
        taken, self._kept = self._kept, []
        return taken
