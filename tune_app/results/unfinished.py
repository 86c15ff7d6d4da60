"""Which cells that were not trained to their end might end as well as the leader. Pure.

A scheduler that ranks cells at a rung pauses those behind, though differences still move after it:
by the drift of the curves, and by the seeds' noise. So a leader is the best of those that were
trained to the end, and no more. A cell that was paused or stopped within what both allow for may be
as good or better.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from tune_app.formats import MINUS, count, one_line
from tune_app.journal.records import DIVERGED, ENDED_EARLY, Status
from tune_app.results.designs import CellResult, Design, NuisanceTrial
from tune_app.results.summary import SweepResults
from tune_app.statistics.noise import LIMIT, margin
from tune_app.statistics.racing import FEWEST_PAIRS, Drift, measured_drift
from tune_app.stopping.curves import value_at

_MOST_NAMES = 3


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A design that was not trained to its end on any seed, where it came furthest."""

    label: str
    tokens: int
    """Baseline tokens of its last evaluation that the leader's curve has too."""
    behind: float
    """Bits per byte of the dev sample above the leader at as many tokens, mean over seeds."""
    allowed: float | None
    """By how much a difference may still move, or be chance; None if drift is unknown."""

    @property
    def may_be_as_good(self) -> bool:
        return self.allowed is None or self.behind <= self.allowed


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """The cells of a sweep that were not trained to their end."""

    paused: int
    stopped: int
    """For their score; those that diverged do not count."""
    candidates: tuple[Candidate, ...]
    """The designs of which no cell was, the closest to the leader first."""
    pairs: int
    """Finished cells, besides the leader's, that show the drift: the fewest over the rungs."""

    @property
    def close(self) -> tuple[Candidate, ...]:
        """Those that may be as good as the leader or better."""
        return tuple(one for one in self.candidates if one.may_be_as_good)


def unfinished(results: SweepResults) -> Unfinished | None:
    """What the ranking says nothing about; None if every cell was trained to its end, or none.

    The difference of a design to the leader is taken seed by seed at equal tokens, where it came
    furthest. Allowed for is the drift from there to the end, measured on the finished cells, and
    the seeds' noise, together as often as two designs are not told apart.
    """
    early = [cell for cell in results.cells if _ended_early(cell)]
    leader = results.leader
    if leader is None or not early:
        return None
    ranked = {design.label for design in results.ranking}
    found: list[Candidate] = []
    pairs: list[int] = []
    for design in results.designs:
        if design.label in ranked:
            continue
        one = min(_candidates(results, leader, design, pairs), key=_closeness, default=None)
        if one is not None:
            found.append(one)
    statuses = [cell.cell.status for cell in early]
    return Unfinished(
        paused=statuses.count(Status.PAUSED),
        stopped=statuses.count(Status.STOPPED),
        candidates=tuple(sorted(found, key=_closeness)),
        pairs=min(pairs, default=0),
    )


def unfinished_text(results: SweepResults) -> str:
    """One sentence, without its full stop: how many cells were not trained to their end, and which
    of them may be as good as the leader; empty if there is none."""
    found = unfinished(results)
    if found is None:
        return ""
    cells = f"{_cells(found)} not trained to the end"
    if not found.candidates:
        return cells
    if found.pairs < FEWEST_PAIRS:
        known = f"only {found.pairs}" if found.pairs else "none"
        return (
            f"{cells} and may be as good or better: how far curves still move is not known, as "
            f"{known} of the cells besides the leader's finished"
        )
    what = "drift allows" if results.contest.noise is None else "drift and noise allow"
    if not found.close:
        return (
            f"{cells}, and each was further behind at its last rung than {what} for, the nearest "
            f"{_standing(found.candidates[0])}"
        )
    named = [_standing(one) for one in found.close[:_MOST_NAMES]]
    if more := len(found.close) - len(named):
        named.append(f"{more} more")
    listed = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return f"{cells}; {listed} may be as good or better, within what {what} for"


def _cells(found: Unfinished) -> str:
    told = [
        f"{number} {name}"
        for number, name in ((found.paused, "paused"), (found.stopped, "stopped"))
        if number
    ]
    one = found.paused + found.stopped == 1
    return f"{' and '.join(told)} {'cell was' if one else 'cells were'}"


def _standing(one: Candidate) -> str:
    by = f"{one.behind:+.4f}".replace("-", MINUS)
    return f"{one_line(one.label)} ({by} bpb at {count(one.tokens)} tokens)"


def _closeness(one: Candidate) -> tuple[float, float, str]:
    """The first of those sorted by it is the most likely to be as good."""
    beyond = -math.inf if one.allowed is None else one.behind - one.allowed
    return beyond, one.behind, one.label


def _ended_early(cell: CellResult) -> bool:
    diverged = cell.decision is not None and cell.decision.rule == DIVERGED
    # One that never started was not behind: a race had no need of its seed.
    return bool(cell.curve) and cell.cell.status in ENDED_EARLY and not diverged


def _candidates(
    results: SweepResults, leader: Design, design: Design, pairs: list[int]
) -> Iterator[Candidate]:
    """The design at each of its nuisance values; notes how many pairs show the drift there."""
    for trial in design.trials:
        furthest = _furthest(leader, trial)
        if furthest is None:
            continue
        tokens, differences = furthest
        moves = _moves(results, leader, tokens)
        drift = measured_drift(moves)
        pairs.append(len(moves))
        yield Candidate(
            label=design.label,
            tokens=tokens,
            behind=statistics.fmean(differences),
            allowed=None if drift is None else _allowed(results, leader, drift, len(differences)),
        )


def _furthest(leader: Design, trial: NuisanceTrial) -> tuple[int, list[float]] | None:
    """The most tokens at which cells can be set against the leader's on their seeds, and the
    differences there."""
    found: dict[int, list[float]] = {}
    for cell in trial.cells:
        if not _ended_early(cell):
            continue
        for tokens, score in reversed(cell.points):
            level = _level(leader, cell.seed, tokens)
            if level is not None:
                found.setdefault(tokens, []).append(score - level)
                break
    return max(found.items(), default=None)


def _level(leader: Design, seed: int, tokens: float) -> float | None:
    """The leader on this seed, or else in the mean over its seeds, at so many tokens."""
    same = [cell for cell in leader.finished if cell.seed == seed]
    levels = [_at(cell, tokens) for cell in same or leader.finished]
    known = [level for level in levels if level is not None]
    return statistics.fmean(known) if known and len(known) == len(levels) else None


def _at(cell: CellResult, tokens: float) -> float | None:
    level = value_at(cell.curve, tokens, lambda point: point.bits_per_byte)
    return level if level is not None and math.isfinite(level) else None


def _moves(results: SweepResults, leader: Design, tokens: int) -> list[tuple[float, float]]:
    """Differences to the leader there and at the end, of the other finished cells."""
    ends = leader.scores
    pairs: list[tuple[float, float]] = []
    for design in results.ranking:
        if design is leader:
            continue
        for cell in design.finished:
            there, level, end = _at(cell, tokens), _level(leader, cell.seed, tokens), cell.score
            if there is None or level is None or end is None:
                continue
            final = ends.get(cell.seed, statistics.fmean(ends.values()))
            pairs.append((there - level, end - final))
    return pairs


def _allowed(results: SweepResults, leader: Design, drift: Drift, seeds: int) -> float:
    """Bits per byte that a difference there may differ from the true one at the end."""
    noise = results.contest.noise
    if noise is None:
        return LIMIT * drift.deviation
    unit = margin(0.0, seeds=len(leader.scores), other_seeds=seeds, noise=noise).unit
    return noise.limit * math.hypot(drift.deviation, unit)
