"""Optuna's own views of the sweep: what its parameters are worth, and how the scores came about.

Left out: the parallel coordinates, which plotly draws with code that it compiles in the page, and
the timeline, which shows the local time of the reader's machine.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import TrialState

from tune_app.results.charts.chart import GRID, Chart
from tune_app.results.mirrors.optuna import trials_of
from tune_app.results.summary import SweepResults

logger = logging.getLogger(__name__)

_FEWEST = 2
"""Finished trials that a view needs."""
_MOST_PARAMETERS = 6
"""In views with a panel for each parameter, or each pair of them."""


def optuna_charts(results: SweepResults) -> list[Chart]:
    """The views that have data; none before two cells have finished."""
    trials = trials_of(results)
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    varied = [
        axis
        for axis in (finished[0].params if finished else {})
        # Not every design of a search has every parameter; Optuna's views need those that all have.
        if all(axis in trial.params for trial in finished)
        and len({str(trial.params[axis]) for trial in finished}) > 1
    ]
    if len(finished) < _FEWEST or not varied:
        return []
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")  # some views are experimental
        study = optuna.create_study(study_name=results.sweep.name)
        study.set_metric_names(["bits per byte"])
        study.add_trials(trials)
        return [chart for chart in _charts(study, varied) if chart is not None]


class _quiet:  # noqa: N801 - a context manager
    """Optuna logs every new study."""

    def __enter__(self) -> None:
        self._level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    def __exit__(self, *_: object) -> None:
        optuna.logging.set_verbosity(self._level)


def _charts(study: optuna.Study, varied: list[str]) -> list[Chart | None]:
    from optuna import visualization as views  # noqa: PLC0415 - imports plotly
    from optuna.importance import PedAnovaImportanceEvaluator  # noqa: PLC0415

    few = varied[:_MOST_PARAMETERS]
    found = [
        _chart(
            "importance",
            "Importance of the parameters",
            "Which parameter decides whether a cell is among the better ones (PED-ANOVA, "
            "arXiv:2304.10255), over the cells that trained to the end. It knows nothing of noise.",
            lambda: views.plot_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(), params=varied
            ),
        ),
        _chart(
            "slice",
            "Score by parameter",
            "Each finished cell at its value of each parameter; darker ones came later.",
            lambda: views.plot_slice(study, params=few),
        ),
    ]
    if len(few) > 1:
        found.append(
            _chart(
                "contour",
                "Score by two parameters",
                "Interpolated between the finished cells.",
                lambda: views.plot_contour(study, params=few[:2]),
            )
        )
        found.append(
            _chart(
                "rank",
                "Rank by two parameters",
                "Colour: the rank of the score.",
                lambda: views.plot_rank(study, params=few[:2]),
            )
        )
    return [
        *found,
        _chart(
            "intermediate",
            "Scores while training",
            "On the sample of dev documents, as Optuna's pruners see them.",
            lambda: views.plot_intermediate_values(study),
        ),
        _chart(
            "history",
            "Best score so far",
            "In the order of the sweep's cells.",
            lambda: views.plot_optimization_history(study),
        ),
        _chart(
            "edf",
            "Distribution of the scores",
            "Share of the finished cells with at most this score.",
            lambda: views.plot_edf(study),
        ),
    ]


def _chart(name: str, title: str, caption: str, draw: Callable[[], Any]) -> Chart | None:
    """A view as a chart; None if Optuna has nothing to show or cannot."""
    try:
        figure = json.loads(draw().to_json())
    except (ValueError, RuntimeError, ZeroDivisionError, ImportError) as error:
        logger.debug("Optuna's view %s: %s", name, error)
        return None
    data = [trace for trace in figure["data"] if has_data(trace)]
    if not data:
        return None
    shape = {
        key: value for key, value in figure["layout"].items() if key not in ("template", "title")
    }
    shape |= {
        "template": "none",
        "margin": {"l": 60, "r": 14, "t": 20, "b": 50},
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "hovermode": "closest",
        "showlegend": False,
    }
    for axis, value in shape.items():
        if axis.startswith(("xaxis", "yaxis")):
            value |= {"automargin": True, "gridcolor": GRID, "zeroline": False}
    return Chart(name=f"optuna-{name}", title=title, caption=caption, data=data, layout=shape)


def has_data(trace: dict[str, Any]) -> bool:
    """Whether a trace shows at least one point."""
    values = trace.get("y", trace.get("x", trace.get("z")))
    if isinstance(values, dict):  # an array in base64
        return bool(values.get("bdata"))
    return bool(values)
