"""Sweeps as a person runs them, in processes of their own, on a small space."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S
from tests.tune_app.observations import repeated
from tune_app.journal.journal import Journal

ROOT = Path(__file__).parent.parent.parent

SPACE = """
AXES = {"glu_expansion": [2.0, 2.5, 2.66, 2.8, 3.0, 4.0]}
FIXED = {
    "target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32,
    "tokens": 20_480, "batch_size": 4, "evaluations": 10, "evaluation_bytes": 16_384,
    "learning_rate": 1e-2, "corpus": %r,
}
SCHEDULER = {"reduction_factor": 2, "grace_fraction": 0.25}
KILL_RULE = {"span_fraction": 0.3}
"""

SLOW_STORE = """
import time
from tune_app.stores.path import PathStore

plain = PathStore.fetch

def fetch(self, name, sink):
    time.sleep(2.0)
    plain(self, name, sink)

PathStore.fetch = fetch
"""
"""To inject: a store in a folder that takes two seconds for a checkpoint."""

INJECTION = """
import importlib.util
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "model.network.transformer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(transformer):
            load(transformer)
            exec(PROGRAM, {"transformer": transformer})

        spec.loader.exec_module = load_and_change
        return spec

PROGRAM = %r
sys.meta_path.insert(0, Finder())
"""


class Sweeps:
    """Runs the command line on a small space, in folders of its own."""

    def __init__(self, folder: Path, corpus: Path, cache: Path) -> None:
        self.folder = folder
        self.space = folder / "small.py"
        self.space.write_text(SPACE % str(corpus))
        self._environment = {**os.environ, "STELLUX_CACHE": str(cache), "COLUMNS": "120"}

    def start(
        self,
        name: str,
        *options: str,
        space: Path | None = None,
        inject: str | None = None,
        environment: Mapping[str, str] | None = None,
        module: str = "tune_app.sweep",
    ) -> subprocess.Popen[str]:
        """Starts a sweep, of one cell at a time unless the options say otherwise.

        Args:
            environment: beside this process' own.
            inject: a program that every process of the sweep runs when it has loaded
                model.network.transformer, with the module as `transformer`.
            module: the command line.
        """
        variables = self._environment | dict(environment or {})
        if inject is not None:
            folder = self.folder / f"injected_{name}"
            folder.mkdir(exist_ok=True)
            (folder / "sitecustomize.py").write_text(INJECTION % inject)
            variables["PYTHONPATH"] = str(folder)
        command = [
            *(sys.executable, "-m", module, str(space or self.space)),
            *("--name", name, "--results", str(self.folder / "runs")),
            *(() if "--cells-at-once" in options else ("--cells-at-once", "1")),
            *options,
        ]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self,
        name: str,
        *options: str,
        space: Path | None = None,
        inject: str | None = None,
        environment: Mapping[str, str] | None = None,
        module: str = "tune_app.sweep",
    ) -> tuple[int, str]:
        process = self.start(
            name, *options, space=space, inject=inject, environment=environment, module=module
        )
        output, _ = process.communicate(timeout=PATIENCE_S)
        return process.returncode, output

    def path(self, name: str) -> Path:
        return self.folder / "runs" / name

    def journal(self, name: str) -> Journal:
        return Journal.open(self.path(name) / "journal.sqlite3", read_only=True)


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def rows(path: Path, query: str) -> list[Any]:
    """A query on a journal that another process is writing; [] before there is one."""
    try:
        # One that stays open reads an old index once the writer has ended.
        with closing(
            sqlite3.connect(f"file:{path}/journal.sqlite3?mode=ro", uri=True)
        ) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def facts(journal: Journal) -> Mapping[str, Any]:
    """What a sweep found and decided, without what a clock had to do with it.

    Cell by cell, for a clock has to do with that order: the last report of a cell, which waits
    until its model is stored, may arrive after the first ones of the next.
    """

    def plain(record: Any) -> dict[str, Any]:
        values = dict(vars(record))
        for name in ("seconds", "at", "attempts", "arrival"):
            values.pop(name, None)
        if "metrics" in values:
            values["metrics"] = repeated(values["metrics"])
        return values

    return {
        "observations": [
            plain(record) for cell in journal.cells() for record in journal.observations(cell.key)
        ],
        "decisions": [
            plain(record)
            for cell in journal.cells()
            for record in journal.decisions()
            if record.cell == cell.key
        ],
        "cells": [plain(record) for record in journal.cells()],
    }
