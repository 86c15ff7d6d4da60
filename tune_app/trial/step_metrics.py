"""The metrics of training steps, collected until the next evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tune_app.journal.metrics import CENTRAL, metric

OF_STEPS = ("train_loss", "learning_rate", "gradient_norm", "loss_scale", "skipped_steps")
"""The central metrics that steps have; the others are measured elsewhere."""


class StepMetrics:
    """The metrics of the steps since the last evaluation.

    Keeps every value instead of a running sum, so that a resumed trial adds up the same numbers in
    the same order.

    Args:
        values: by name, in the order of the steps; from `state` of an interrupted trial.
    """

    def __init__(self, values: Mapping[str, Sequence[float]] | None = None) -> None:
        self._values = {name: list(known) for name, known in (values or {}).items()}

    def add(self, metrics: Mapping[str, float]) -> None:
        """Adds one step's metrics.

        Raises UndeclaredMetricError for a name without an entry in METRICS, and ValueError for a
        central metric that is not measured by steps: it would replace the real one.
        """
        for name, value in metrics.items():
            if name not in self._values:
                metric(name)
                if name in CENTRAL and name not in OF_STEPS:
                    raise ValueError(
                        f"a step reports {name!r}, which is not measured by steps; give what the "
                        "part of the network reports another name"
                    )
                self._values[name] = []
            self._values[name].append(value)

    def taken(self) -> dict[str, float]:
        """One value per metric, aggregated as declared; then starts over.

        Without any step the training loss is NaN.
        """
        values, self._values = self._values, {}
        return {"train_loss": math.nan} | {
            name: metric(name).gathered(known) for name, known in values.items() if known
        }

    def state(self) -> dict[str, list[float]]:
        """A copy, for a checkpoint."""
        return {name: list(known) for name, known in self._values.items()}
