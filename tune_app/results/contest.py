"""What the seeds' noise leaves of a ranking: the leader, and what is not told apart from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_app.plan.identity import completed
from tune_app.plan.labels import axis_name, describe_value
from tune_app.plan.noise_records import NoiseRecord, fitting, recorded_noise
from tune_app.results.designs import Design
from tune_app.statistics.noise import Margin, Noise, margin, pooled, together


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The ranked designs against the seeds' noise."""

    ranking: tuple[Design, ...]
    """As in `SweepResults.ranking`."""
    noise: Noise | None
    """Bits per byte of the full dev split, of a single seed; None if it is unknown."""
    why_unknown: str
    """Why it is unknown; empty if it is not."""
    margins: Mapping[str, Margin]
    """By label: how far each ranked design is behind the leader, which has none itself. Empty if
    the noise is unknown."""

    @property
    def leader(self) -> Design | None:
        return self.ranking[0] if self.ranking else None

    @property
    def not_told_apart(self) -> tuple[Design, ...]:
        """The designs that the leader is not told apart from, in the order of the ranking."""
        return tuple(
            design
            for design in self.ranking
            if design.label in self.margins and not self.margins[design.label].told_apart
        )

    def by_noise(self, by: float, *, seeds: int) -> Margin | None:
        """A difference between two means over so many seeds each; None if the noise is unknown."""
        if self.noise is None:
            return None
        return margin(by, seeds=seeds, other_seeds=seeds, noise=self.noise)

    def told_apart(self, design: Design) -> bool | None:
        """Whether a design is behind the leader by more than noise; None for the leader, for one
        that is not ranked, and if the noise is unknown."""
        found = self.margins.get(design.label)
        return None if found is None else found.told_apart


def contest_of(
    designs: Sequence[Design],
    ranking: Sequence[Design],
    *,
    records: Sequence[NoiseRecord] | None = None,
) -> Contest:
    """The contest of a sweep.

    Args:
        designs: all of the sweep.
        ranking: those that are ranked, the leader first.
        records: of the seeds' noise; by default those that come with the project.
    """
    noise, why_unknown = _noise(designs, recorded_noise() if records is None else records)
    margins = {}
    if noise is not None and ranking:
        first, *others = ranking
        margins = {
            other.label: margin(
                _mean(other) - _mean(first),
                seeds=len(first.scores),
                other_seeds=len(other.scores),
                noise=noise,
            )
            for other in others
        }
    return Contest(ranking=tuple(ranking), noise=noise, why_unknown=why_unknown, margins=margins)


def _noise(designs: Sequence[Design], records: Sequence[NoiseRecord]) -> tuple[Noise | None, str]:
    """The seeds' noise, or why it is unknown.

    From the sweep's own seeds, of all cells that differ in nothing else; pooled with a record that
    holds for it if these are few; from the record alone if there are none.
    """
    own = pooled(
        (trial.scores.values() for design in designs for trial in design.trials), of="this sweep"
    )
    values = [cell.cell.values for design in designs for cell in design.cells]
    record = fitting(records, values)
    known = None if record is None else _of_record(record)
    if own is not None and own.sigma > 0:
        return (own if known is None or own.is_well_known else together(own, known)), ""
    if known is not None:
        return known, ""
    if own is not None:
        return None, "all seeds of a design scored exactly the same"
    return None, f"no design finished on two seeds, and none is recorded for {_kind(values)}"


def _of_record(record: NoiseRecord) -> Noise:
    return Noise(
        sigma=record.sigma,
        degrees_of_freedom=record.degrees_of_freedom,
        runs=record.runs,
        source=f"{record.runs} recorded runs of such sweeps",
        detail=record.source,
    )


_TOLD = (
    "corpus",
    "target_parameters",
    "tokens",
    "batch_size",
    "learning_rate",
    "embedding_rate",
    "parametrization",
)


def _kind(cells: Sequence[Mapping[str, object]]) -> str:
    """What a record would have to be for, in words."""
    whole = [completed(values) for values in cells]
    told = []
    for name in _TOLD:
        found = list(dict.fromkeys(describe_value(name, one[name]) for one in whole))
        told.append(f"{axis_name(name)} {' or '.join(found[:2])}")
    return ", ".join(told)


def _mean(design: Design) -> float:
    assert design.mean is not None, "a ranked design has a score"
    return design.mean
