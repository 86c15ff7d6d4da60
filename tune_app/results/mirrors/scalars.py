"""What the other tools get of an evaluation: the same names and values for each of them."""

from __future__ import annotations

import math

from tune_app.journal.metrics import tag
from tune_app.journal.records import Observation, SweepRecord


def scalars_of(observation: Observation) -> dict[str, float]:
    """Every metric under its tag, and the seconds by phase of a trial; without NaN and infinities,
    which neither tool draws. Its step is `observation.baseline_tokens`."""
    values = {
        **{tag(name): value for name, value in observation.metrics.items()},
        **{f"seconds/{phase}": value for phase, value in observation.seconds.items()},
    }
    return {name: value for name, value in values.items() if math.isfinite(value)}


def group_of(sweep: SweepRecord) -> str:
    """What runs are grouped by: the sweep, or in a study `STUDY/PHASE`."""
    study = sweep.origin.get("study")
    return f"{study}/{sweep.name}" if isinstance(study, str) and study else sweep.name
