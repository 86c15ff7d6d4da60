"""What other schedulers would have made of a study's rankings. Pure.

A ranking stops cells, and an audit trains them to their end: together they are the whole grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tune_app.journal.records import Status
from tune_app.replay.reported import Reported, reported
from tune_app.results.charts.replay import replay_rows
from tune_app.study.found import Found


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A ranking of the study, replayed."""

    phase: str
    found: Reported


def replayed(found: Found) -> tuple[Replayed, ...]:
    """Every ranking with what later phases trained of its cells."""
    runs = {run.key: run for run in found.runs}
    rankings = []
    for phase in found.of("rank"):
        cells, curves = [], {}
        for result in phase.results.cells:
            run = runs[result.cell.key]
            whole = run.score is not None
            status = Status.FINISHED if whole else result.cell.status
            cells.append(replace(result.cell, status=status))
            curves[result.cell.key] = run.result.curve
        sweep = phase.results.sweep
        rankings.append(
            Replayed(phase=phase.name, found=reported(cells, curves, baseline=sweep.baseline))
        )
    return tuple(rankings)


def replay_lines(rankings: tuple[Replayed, ...]) -> Iterator[str]:
    """The replays, as Markdown."""
    for one in rankings:
        if one.found.why_not:
            yield f"No replay of {one.phase}: {one.found.why_not}."
            yield ""
            continue
        yield (
            f"The {one.found.complete} of {one.found.competed} cells of {one.phase} that are "
            f"trained to their end, in {one.found.orders} random orders. Regret: by how much the "
            "leader ends worse than the best cell, in bpb. False kills: of the cells given up, "
            "those that end better than the one that leads."
        )
        yield ""
        yield "| scheduler | tokens of the grid's | regret | best cell lost | false kills |"
        yield "|---|---|---|---|---|"
        yield from (f"| {' | '.join(row)} |" for row in replay_rows(one.found.tallies))
        yield ""
