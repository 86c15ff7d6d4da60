"""Runs a sweep in this process, or continues it."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from tune_app.api.planned import PlannedSweep, plan_sweep
from tune_app.api.settings import names_of, refuse_unknown, settings_of, takes
from tune_app.api.sweep import Sweep, sweep_in
from tune_app.cluster.options import RunOptions
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes

_WIDTH = 100
"""Characters of a line where the output is no terminal."""


@takes(Wishes, RunOptions)
def run_sweep(
    space: PlannedSweep | str | Path | Mapping[str, Any] | Space = "quick",
    *,
    progress: bool = True,
    **settings: Any,
) -> Sweep:
    """Runs a sweep to its end, or what is left of it, and returns its results.

    The same call continues an interrupted sweep. An interruption (Ctrl-C, or a notebook's stop
    button) saves the cells in training, writes the results and then raises KeyboardInterrupt.

    Args:
        space: a planned sweep, or a space as `plan_sweep` takes it.
        progress: whether to print what ends, and how far the rest is.
        settings: those of `plan_sweep`, unless a planned sweep is given, and the options of
            `stellux sweep` that say how it is run, by the same names: results, cells_at_once, cpus,
            checkpoints, … (`tune_app.cluster.options.RunOptions`).

    A sweep that its baseline ended early returns, too: see `Sweep.ended_by`.

    Raises ValueError or OSError, before anything is trained, for what a sweep is refused for.
    """
    refuse_unknown(settings, (*names_of(Wishes), *names_of(RunOptions)))
    wishes = {name: settings[name] for name in settings if name in names_of(Wishes)}
    options = {name: settings[name] for name in settings if name in names_of(RunOptions)}
    if isinstance(space, PlannedSweep):
        if wishes:
            raise ValueError(
                f"the sweep is planned already, so {next(iter(wishes))} cannot change; give it to "
                "plan_sweep"
            )
        planned = space
    else:
        planned = plan_sweep(space, **wishes)
    how = settings_of(RunOptions, options)
    arguments = [planned.call, *(f"{name}={value!r}" for name, value in options.items())]
    with _no_talk_of_widgets():
        from tune_app.sweep.run import train_sweep  # noqa: PLC0415 - imports torch

        outcome = train_sweep(
            planned.plan,
            planned.rules,
            how,
            console=_console() if progress else Console(quiet=True),
            command=f"run_sweep({', '.join(arguments)})",
        )
    if outcome.interrupted:
        raise KeyboardInterrupt
    return sweep_in(how.results / planned.name, ended_by=outcome.ended_by)


def _console() -> Console:
    """Live on a terminal; plain lines in a notebook, whose cells keep all that was printed."""
    if sys.stdout.isatty():
        return Console()
    return Console(file=sys.stdout, force_jupyter=False, force_terminal=False, width=_WIDTH)


@contextmanager
def _no_talk_of_widgets() -> Iterator[None]:
    """In a notebook tqdm and Ray recommend ipywidgets when they are imported; nothing uses it."""
    logging.getLogger("ray.widgets").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        yield
