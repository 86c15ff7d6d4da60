"""What small changes to the best design are worth. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tune_app.plan.identity import canonical
from tune_app.plan.labels import axis_name, describe_value
from tune_app.results.designs import Design
from tune_app.statistics.multiplicity import holm
from tune_app.statistics.paired import paired
from tune_app.study.found import Found, PhaseFound
from tune_app.study.frame import Frame


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A change to the best design."""

    change: str
    """`vocabulary 2,048 at d_model 80`."""
    by: float
    """Mean bits per byte that it is worse by, on shared seeds."""
    interval: tuple[float, float] | None
    """None if the seeds' noise is unknown."""
    p: float | None
    """Corrected for the number of changes."""
    share_before: float
    """The embedding's share of the parameters."""
    share_after: float
    width_before: int
    width_after: int


def ablations(study: Frame, found: Found, phase: PhaseFound) -> list[Ablation]:
    """The changes of a phase that finished, against the design that they change."""
    evidence = phase.origin["evidence"]
    names = list(evidence["best"])
    designs = {_changes(design.values, names): design for design in phase.results.designs}
    best = designs.get(_changes(evidence["best"], names))
    if best is None or not best.scores:
        return []
    noise = found.noise(int(phase.results.sweep.tokens))
    rows: list[tuple[Design, str]] = []
    for design in phase.results.designs:
        changed = [
            name for name in names if str(design.values.get(name)) != str(evidence["best"][name])
        ]
        if len(changed) == 1 and set(design.scores) & set(best.scores):
            name = changed[0]
            moved = {name, *evidence["matched"]}
            if any(
                canonical(design.values.get(one)) != canonical(best.values.get(one))
                for one in best.values
                if one not in moved
            ):
                continue  # the baseline, which differs in more
            told = f"{axis_name(name)} {describe_value(name, design.values.get(name))}"
            sizes = [f"{one} {size}" for one, size in evidence["matched"].items() if size]
            rows.append((design, f"{told} at {', '.join(sizes)}" if sizes else told))
    compared = [paired(best.scores, design.scores, noise=noise) for design, _ in rows]
    known = [one for one in compared if one is not None]
    corrected = iter(holm([one.p for one in known]))
    return [
        Ablation(
            change=told,
            by=_mean_difference(best, design),
            interval=None if one is None else one.interval,
            p=None if one is None else next(corrected),
            share_before=_share(best),
            share_after=_share(design),
            width_before=_width(best),
            width_after=_width(design),
        )
        for (design, told), one in zip(rows, compared, strict=True)
    ]


def _changes(values: Mapping[str, Any], names: list[str]) -> str:
    return str([str(values.get(name)) for name in names])


def _mean_difference(one: Design, other: Design) -> float:
    both = [seed for seed in one.scores if seed in other.scores]
    return statistics.fmean(other.scores[seed] - one.scores[seed] for seed in both)


def _share(design: Design) -> float:
    return float((design.cells[0].cell.parameters or {})["embedding_share"])


def _width(design: Design) -> int:
    return int((design.cells[0].cell.config or {})["d_model"])
