"""What else differs where the cells differ on an axis: width, depth, cost, seconds.

All cells have one parameter budget, so an axis seldom changes alone: at one vocabulary a larger
embedding share is a wider and shallower model. Here each property of the compared designs is set
against each axis. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune_app import formats
from tune_app.plan.labels import axis_name, describe_value, is_number, ordered
from tune_app.results.designs import Design, mean_of
from tune_app.results.summary import SweepResults
from tune_app.statistics.ranks import rank_correlation

STRONG = 0.7
"""From this rank correlation on, a property is said to come with an axis, ..."""
MATTERS = 1.05
"""... if it also changes by this factor from the first value of the axis to the last."""
_VARIES = 1.01
"""A property whose largest value is not more than this times its smallest is held equal."""


@dataclass(frozen=True, kw_only=True)
class Property:
    """Something that designs may differ in besides their axes."""

    name: str
    value: Callable[[Design], float | None]
    text: Callable[[float], str]
    axis: str = ""
    """The setting that it is; no confounder of an axis of that name."""


@dataclass(frozen=True, kw_only=True)
class Along:
    """A property at the values of an axis: the means over all designs with that value."""

    axis: str
    means: tuple[tuple[Any, float], ...]
    """(value of the axis, mean of the property), in the axis' order."""
    correlation: float
    """Rank correlation of the property with the axis over the designs; NaN if the axis has no
    numbers, or one value."""

    @property
    def matters(self) -> bool:
        """Whether the property goes with the axis, and changes by more than a little."""
        low, high = sorted((self.means[0][1], self.means[-1][1]))
        return abs(self.correlation) >= STRONG and high >= MATTERS * low


@dataclass(frozen=True, kw_only=True)
class Confounder:
    """A property in which the compared designs differ."""

    property: Property
    lowest: float
    highest: float
    along: tuple[Along, ...]
    """For each axis of the sweep that is not the property itself."""


def confounders(results: SweepResults) -> tuple[Confounder, ...]:
    """The properties in which the ranked designs differ, by axis; all designs' until two rank."""
    designs = compared_designs(results)
    found = []
    for one in PROPERTIES:
        values = {design.label: one.value(design) for design in designs}
        known = {label: value for label, value in values.items() if value is not None}
        if len(known) < max(2, len(values)) or max(known.values()) <= _VARIES * min(known.values()):
            continue
        along = tuple(
            _along(designs, axis, known)
            for axis in results.axes
            if axis != one.axis and len({repr(design.values.get(axis)) for design in designs}) > 1
        )
        found.append(
            Confounder(
                property=one,
                lowest=min(known.values()),
                highest=max(known.values()),
                along=along,
            )
        )
    return tuple(found)


def compared_designs(results: SweepResults) -> Sequence[Design]:
    """The ranked designs; before two are, all that have sizes."""
    if len(results.ranking) > 1:
        return results.ranking
    return [design for design in results.designs if design.cells[0].cell.config is not None]


def _along(designs: Sequence[Design], axis: str, known: Mapping[str, float]) -> Along:
    values = ordered([design.values.get(axis) for design in designs])
    means = []
    for value in values:
        of = [known[design.label] for design in designs if design.values.get(axis) == value]
        means.append((value, sum(of) / len(of)))
    correlation = math.nan
    if all(map(is_number, values)):
        correlation = rank_correlation(
            [float(design.values[axis]) for design in designs],
            [known[design.label] for design in designs],
        )
    return Along(axis=axis, means=tuple(means), correlation=correlation)


def confounder_sentences(results: SweepResults) -> list[str]:
    """For each axis of numbers, what comes with it, with the rank correlations."""
    found = confounders(results)
    sentences = []
    for axis in results.axes:
        parts = []
        values: tuple[tuple[Any, float], ...] = ()
        for one in found:
            for along in one.along:
                if along.axis == axis and along.matters:
                    values = along.means
                    parts.append(
                        f"{one.property.name} {_ends(one.property, along)} "
                        f"({_signed(along.correlation)})"
                    )
        if parts:
            first, last = (describe_value(axis, value) for value, _ in (values[0], values[-1]))
            name = axis_name(axis)
            sentences.append(
                f"{name[:1].upper()}{name[1:]} {first} → {last} comes with {_and(parts)}."
            )
    return sentences


def confounder_section(results: SweepResults) -> dict[str, Any] | None:
    """The report's section; None where nothing else differs."""
    found = confounders(results)
    if not found or not any(one.along for one in found):
        return None
    axes = list(dict.fromkeys(along.axis for one in found for along in one.along))
    return {
        "axes": [axis_name(axis) for axis in axes],
        "rows": [
            {
                "name": one.property.name,
                "spread": f"{one.property.text(one.lowest)} to {one.property.text(one.highest)}",
                "along": [_cell(one, axis) for axis in axes],
            }
            for one in found
        ],
        "sentences": confounder_sentences(results),
        "which": "finished cells" if len(results.ranking) > 1 else "planned cells",
    }


def _cell(one: Confounder, axis: str) -> str:
    """`23 → 3 (-0.98)`, or each value with its mean where the axis has no numbers."""
    along = next((found for found in one.along if found.axis == axis), None)
    if along is None:
        return ""
    if math.isnan(along.correlation):
        return ", ".join(
            f"{describe_value(axis, value)}: {one.property.text(mean)}"
            for value, mean in along.means
        )
    return f"{_ends(one.property, along)} ({_signed(along.correlation)})"


def _ends(of: Property, along: Along) -> str:
    return f"{of.text(along.means[0][1])} → {of.text(along.means[-1][1])}"


def _signed(correlation: float) -> str:
    return f"{correlation:+.2f}".replace("-", "−")


def _and(parts: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def _size(name: str) -> Callable[[Design], float | None]:
    def value(design: Design) -> float | None:
        config = design.cells[0].cell.config
        return None if config is None else float(config[name])

    return value


def _attention(design: Design) -> float | None:
    config = design.cells[0].cell.config
    return None if config is None else config["n_heads"] * config["head_dim"] / config["d_model"]


def _expansion(design: Design) -> float | None:
    config = design.cells[0].cell.config
    return None if config is None else config["d_ff"] / config["d_model"]


def _held(design: Design) -> float | None:
    """All parameters over those that a token uses: more than 1 with experts."""
    counts = design.cells[0].cell.parameters
    if counts is None or not counts.get("active"):
        return None
    return float(counts["total"] / counts["active"])


def _flops(design: Design) -> float | None:
    """Of one cell, without the other nuisance values that its design was tried at."""
    return mean_of(flops for cell in design.finished if (flops := cell.training_flops) is not None)


def _seconds(design: Design) -> float | None:
    seconds = [cell.seconds["train"] for cell in design.finished]
    return mean_of(seconds) if all(seconds) else None


def _number(value: float) -> str:
    return f"{value:.3g}"


def _whole(value: float) -> str:
    return f"{round(value):,}"


PROPERTIES = (
    Property(name="depth", value=_size("n_layers"), text=_number, axis="n_layers"),
    Property(name="width", value=_size("d_model"), text=_number, axis="d_model"),
    Property(name="attention / width", value=_attention, text=lambda value: f"{value:.2f}"),
    Property(
        name="expansion", value=_expansion, text=lambda value: f"{value:.2f}", axis="glu_expansion"
    ),
    Property(name="parameters / active ones", value=_held, text=lambda value: f"{value:.2f}"),
    Property(name="vocabulary", value=_size("vocab_size"), text=_whole, axis="vocab_size"),
    Property(name="training FLOPs", value=_flops, text=lambda value: f"{value:.2e}"),
    Property(name="training seconds", value=_seconds, text=formats.duration),
)
"""What is compared, in the order of the table."""
