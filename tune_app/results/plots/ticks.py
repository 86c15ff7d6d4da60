"""Scale and ticks of an axis that shows values of a cell: none overlap, whatever the values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from tune_app.plan.labels import describe_value, is_number
from tune_app.results.plots.legends import literal
from tune_app.results.plots.style import FEW
from tune_app.results.summary import SweepResults

_LETTER = 0.0175
"""Width of a letter of a tick, about, as a share of a plot's width."""
_LETTER_HEIGHT = 0.045
"""Of a slanted name, in inches per letter."""
_GAP = 2 * _LETTER
_EDGE = 0.05
"""Empty share of a plot at each end of its axis."""
_MANY = 24
"""Up to this many names have a tick each."""


def value_ticks(axes: Axes, axis: str, values: Sequence[Any], results: SweepResults) -> None:
    """Sets the scale and the ticks of the x axis.

    Args:
        axes: numbers are drawn at their values, other values at their places 0, 1, ….
        axis: of the sweep.
        values: that occur, each once and in order.
        results: of the sweep, for the names of its values and their scale.
    """
    if all(map(is_number, values)):
        _number_ticks(axes, axis, values, results)
    else:
        _name_ticks(axes, [results.names.value(axis, value) for value in values])


def _number_ticks(axes: Axes, axis: str, values: Sequence[float], results: SweepResults) -> None:
    low, high = values[0], values[-1]
    logarithmic = low < high and results.is_logarithmic(axis)
    margin = (high - low) * _EDGE or abs(low) * _EDGE or 1.0
    if logarithmic:
        factor = (high / low) ** _EDGE
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(low / factor, high * factor)
    else:
        axes.set_xlim(low - margin, high + margin)

    def place(value: float) -> float:
        """As a share of the axis."""
        left, right = axes.get_xlim()
        if logarithmic:
            return math.log(value / left) / math.log(right / left)
        return (value - left) / (right - left)

    few = len(values) <= FEW
    marks = list(values) if few else _round_numbers(low, high, logarithmic=logarithmic)
    texts = [
        results.names.value(axis, mark) if few else describe_value(axis, mark) for mark in marks
    ]
    kept = apart([place(mark) for mark in marks], [_LETTER * len(text) for text in texts])
    axes.set_xticks(marks, labels=[texts[at] if at in kept else "" for at in range(len(marks))])


def _name_ticks(axes: Axes, texts: Sequence[str]) -> None:
    axes.set_xlim(-0.5, len(texts) - 0.5)
    every = math.ceil(len(texts) / _MANY)
    shown = range(0, len(texts), every)
    axes.set_xticks(shown, labels=[literal(texts[at]) for at in shown])
    longest = max(len(texts[at]) for at in shown)
    if _LETTER * longest + _GAP > 1 / len(texts):
        axes.tick_params(axis="x", labelrotation=35 if len(shown) <= FEW else 60)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
        figure = axes.get_figure(root=True)
        assert figure is not None
        figure.set_figheight(figure.get_figheight() + _LETTER_HEIGHT * longest)


def apart(places: Sequence[float], widths: Sequence[float]) -> list[int]:
    """The labels that may be shown without overlap: the first, the last, and others between.

    Args:
        places: of their middles, ascending, as shares of the axis.
        widths: of the labels, in the same unit.
    """

    def touch(one: int, other: int) -> bool:
        return places[other] - places[one] < (widths[one] + widths[other]) / 2 + _GAP

    if not places:
        return []
    kept, last = [0], len(places) - 1
    for at in range(1, last):
        if not touch(kept[-1], at) and not touch(at, last):
            kept.append(at)
    if last > 0 and not touch(kept[-1], last):
        kept.append(last)
    return kept


def _round_numbers(low: float, high: float, *, logarithmic: bool) -> list[float]:
    """At most a dozen round numbers between two others; the two themselves if there are none."""
    if logarithmic:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
            found = [step * 10.0**exponent for exponent in exponents for step in steps]
            found = [number for number in found if low <= number <= high]
            if len(found) <= 12:
                break
    else:
        raw = (high - low) / 6
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
        found = [step * at for at in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return found if len(found) > 1 else [low, high]
