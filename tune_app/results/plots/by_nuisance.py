"""Final bits per byte by a nuisance axis, one line per design, with a ring at its chosen value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tune_app.plan.labels import axis_name, is_number, ordered
from tune_app.results.designs import Design, NuisanceTrial
from tune_app.results.plots.legends import add_legends
from tune_app.results.plots.style import Plot, Styles, dress, new_figure, say
from tune_app.results.plots.ticks import value_ticks
from tune_app.results.summary import SweepResults


def nuisance_plot(results: SweepResults, axis: str) -> Plot:
    name = axis_name(axis)
    values = ordered([cell.cell.values.get(axis) for cell in results.cells])
    numeric = all(map(is_number, values))
    places = {repr(value): value if numeric else place for place, value in enumerate(values)}
    styles = Styles(results)
    figure = new_figure(height=3.9)
    axes = figure.add_subplot()
    dress(axes, x=name, y="bits per byte (full dev split)", title=f"Bits per byte by {name}")
    for design in results.designs:
        look = styles.of(design)
        points = [
            (places[repr(trial.values[axis])], mean, trial is design.chosen)
            for trial in _along(design, axis)
            if (mean := trial.mean) is not None
        ]
        if not points:
            continue
        axes.plot(
            [place for place, _, _ in points],
            [mean for _, mean, _ in points],
            color=look.colour,
            marker=look.marker,
            linestyle=look.dash,
            linewidth=2.2 if design.is_baseline else 1.3,
            markersize=5.0,
        )
        ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markersize": 12}
        for place, mean, is_chosen in points:
            if is_chosen:
                axes.plot(place, mean, color=look.colour, **ring)
    value_ticks(axes, axis, values, results)
    if not results.ranking:
        say(axes, "no cell has finished yet")
    add_legends(figure, styles.handles())
    return Plot(
        name=f"by_{axis}",
        figure=figure,
        caption=f"A line is a design at each {name} that it finished at, the mean over its seeds. "
        "Ring: the value that it is compared at. Where lines cross, the order of designs depends "
        "on it. The baseline is thick.",
    )


def _along(design: Design, axis: str) -> list[NuisanceTrial]:
    """Its trials that differ from the chosen one in this axis alone."""

    def others(trial: NuisanceTrial) -> Mapping[str, Any]:
        return {name: value for name, value in trial.values.items() if name != axis}

    return [
        trial
        for trial in design.trials
        if design.chosen is not None and others(trial) == others(design.chosen)
    ]
