"""Sweeps side by side: only what may be compared is ranked together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune_app import formats
from tune_app.results.designs import Design
from tune_app.results.summary import SweepResults
from tune_app.statistics.noise import Noise, margin

_MUST_AGREE: Mapping[str, tuple[str, Callable[[SweepResults], Any]]] = {
    "corpus": ("the text, and with it the dev split", lambda one: one.sweep.corpus_sha256),
    "tokens": ("baseline tokens of a cell", lambda one: one.sweep.tokens),
}
"""What two sweeps must agree in to be ranked together: why, and its value."""
_SHA_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A design of one of the sweeps."""

    sweep: str
    design: Design
    behind: float
    """Bits per byte behind the first of its group."""
    sigmas: float | None
    """That in standard deviations of the seeds' noise; None if it is unknown, and for the first."""
    told_apart: bool | None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Sweeps that may be compared, and all their finished designs, the best first."""

    sweeps: tuple[SweepResults, ...]
    ranking: tuple[Entry, ...]
    noise: Noise | None
    """The largest of the sweeps' own, so that no sweep's luck tells designs apart."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Some sweeps."""

    groups: tuple[Group, ...]
    differences: tuple[str, ...]
    """What keeps groups apart, a sentence for each pair with the first."""


def compare(sweeps: Sequence[SweepResults]) -> Comparison:
    """Groups the sweeps by what must agree, in the order given."""
    grouped: dict[tuple[Any, ...], list[SweepResults]] = {}
    for one in sweeps:
        key = tuple(value(one) for _, value in _MUST_AGREE.values())
        grouped.setdefault(key, []).append(one)
    groups = [_group(found) for found in grouped.values()]
    first = next(iter(grouped.values()))[0]
    differences = [_difference(first, found[0]) for found in list(grouped.values())[1:]]
    return Comparison(groups=tuple(groups), differences=tuple(differences))


def _difference(one: SweepResults, other: SweepResults) -> str:
    told = []
    for name, (what, value) in _MUST_AGREE.items():
        before, after = value(one), value(other)
        if before != after:
            told.append(f"{name} ({what}): {_shown(before)} and {_shown(after)}")
    return (
        f"{one.sweep.name} and {other.sweep.name} are not ranked together; they differ in "
        + "; ".join(told)
    )


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{str(value)[:_SHA_DIGITS]}…"


def _group(sweeps: Sequence[SweepResults]) -> Group:
    known = [noise for one in sweeps if (noise := one.contest.noise) is not None]
    noise = max(known, key=lambda one: one.sigma, default=None)
    found = [
        (design.mean, one.sweep.name, design)
        for one in sweeps
        for design in one.ranking
        if design.mean is not None
    ]
    found.sort(key=lambda entry: (entry[0], entry[1], entry[2].label))
    return Group(
        sweeps=tuple(sweeps),
        ranking=tuple(_entry(name, design, found[0][2], noise) for _, name, design in found),
        noise=noise,
    )


def _entry(name: str, design: Design, best: Design, noise: Noise | None) -> Entry:
    assert design.mean is not None and best.mean is not None
    behind = design.mean - best.mean
    told = None
    if noise is not None and design is not best:
        told = margin(behind, seeds=len(best.scores), other_seeds=len(design.scores), noise=noise)
    return Entry(
        sweep=name,
        design=design,
        behind=behind,
        sigmas=None if told is None else told.sigmas,
        told_apart=None if told is None else told.told_apart,
    )


def behind_text(entry: Entry) -> str:
    """`0.0123 (2.4 σ)`, `≈ 0.0011 (0.2 σ)` if it is not told apart from the first; `first`."""
    if entry.behind == 0 and entry.sigmas is None:
        return "first"
    text = formats.bits_per_byte(entry.behind)
    if entry.sigmas is not None:
        text += f" ({entry.sigmas:.1f} σ)"
    return text if entry.told_apart in (True, None) else f"≈ {text}"
