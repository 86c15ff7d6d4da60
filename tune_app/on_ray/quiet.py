"""How Ray and Tune behave in the driver's process while a sweep runs, and as before afterwards.

A sweep may run in a notebook whose other cells use Ray for something else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray

_NEVER = str(10 * 365 * 86_400)

_SETTINGS: Mapping[str, str] = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tune's newer output prints a table of its own even with verbose=0.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Tune's own snapshots, which nothing reads.
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    # The sweep itself warns when it waits for machines.
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": _NEVER,
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S_AUTOSCALER": _NEVER,
}
_SETTINGS_HERE: Mapping[str, str] = {
    # Statistics for the dashboard, which does not run here.
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
}
"""For a Ray that is started on this machine."""

_WARNINGS = "PYTHONWARNINGS"

_LEVELS = {"ray": logging.ERROR, "ray.tune": logging.CRITICAL, "ray.air": logging.CRITICAL}


@contextmanager
def settings(*, local: bool) -> Iterator[None]:
    """Inside the block, the environment has Ray's settings for a sweep where it has none.

    It has no PYTHONWARNINGS=error: Ray's own processes cause warnings, and would end by them.
    """
    wanted = {**_SETTINGS, **(_SETTINGS_HERE if local else {})}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    warnings = os.environ.get(_WARNINGS, "")
    os.environ.update(added)
    if "error" in warnings:
        del os.environ[_WARNINGS]
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        if "error" in warnings:
            os.environ[_WARNINGS] = warnings


@contextmanager
def silence() -> Iterator[None]:
    """Inside the block, Ray says nothing of lost processes and nodes; the journal reports these."""
    worker: Any = ray._private.worker
    usual = worker.print_to_stdstream
    levels = {name: logging.getLogger(name).level for name in _LEVELS}
    try:
        for name, level in _LEVELS.items():
            logging.getLogger(name).setLevel(level)
        # A thread prints what Ray's daemons report, and no setting turns it off.
        worker.print_to_stdstream = lambda data, ignore_prefix: None
        yield
    finally:
        worker.print_to_stdstream = usual
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
