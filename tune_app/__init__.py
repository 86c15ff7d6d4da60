"""The sweep: cells, trials, stopping rules, results. Each folder says what it may import.

For notebooks and scripts:

    from tune_app import plan_sweep, run_sweep, open_sweep, list_sweeps, load_model
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_app.api.planned import PlannedSweep, plan_sweep
    from tune_app.api.running import run_sweep
    from tune_app.api.sweep import Sweep, list_sweeps, open_sweep
    from tune_app.trial.trained import TrainedModel
    from tune_app.trial.trained import load as load_model

__all__ = [
    "PlannedSweep",
    "Sweep",
    "TrainedModel",
    "list_sweeps",
    "load_model",
    "open_sweep",
    "plan_sweep",
    "run_sweep",
]

_PLACES = {
    "PlannedSweep": ("tune_app.api.planned", "PlannedSweep"),
    "Sweep": ("tune_app.api.sweep", "Sweep"),
    "TrainedModel": ("tune_app.trial.trained", "TrainedModel"),
    "list_sweeps": ("tune_app.api.sweep", "list_sweeps"),
    "load_model": ("tune_app.trial.trained", "load"),
    "open_sweep": ("tune_app.api.sweep", "open_sweep"),
    "plan_sweep": ("tune_app.api.planned", "plan_sweep"),
    "run_sweep": ("tune_app.api.running", "run_sweep"),
}
"""Module and name there; imported on first use (PEP 562), since most need pandas or torch."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # A notebook's own folder is searched first, and may contain a model.py.
    import_module("tune_app.command_line").refuse_hidden_packages()
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
