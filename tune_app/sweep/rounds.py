"""The rounds of a search: what the sampler is told of a sweep so far, and what it proposes next.

Pure but for reading the journal: a round is made from the results of the rounds before, in the
order of their proposals, whatever the order in which their cells ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from tune_app.journal.reading import JournalReader
from tune_app.journal.records import DIVERGED, ENDED_EARLY, CellRecord, Observation, Status
from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan
from tune_app.plan.planned_cells import planned_cell
from tune_app.plan.rows import PlannedCell
from tune_app.plan.search.records import Proposal, Result, Round, Told, rounds_left
from tune_app.plan.search.rounds import NextRound, Search, label_on_seed, notes_of, propose
from tune_app.stopping.curves import without_seed


def next_round(search: Search | None, journal: JournalReader) -> NextRound | None:
    """The round that follows those in the journal, if one is left; writes nothing.

    Its cells' results do not matter yet: call it when those of the rounds before have ended.
    """
    if search is None:
        return None
    with journal.one_moment():
        rounds, cells = journal.rounds(), journal.cells()
        if rounds_left(search.as_dict(), rounds) == 0:
            return None
        last: dict[str, Observation] = {}
        for observation in journal.observations():
            last[observation.cell] = observation
        diverged = {one.cell for one in journal.decisions() if one.rule == DIVERGED}
    return propose(
        search,
        number=len(rounds) + 1,
        first=1 + sum(len(one.proposals) for one in rounds),
        told=what_became(rounds, cells, last, diverged),
        known={cell.key: cell.label for cell in cells},
        position=1 + max(cell.position for cell in cells),
    )


def what_became(
    rounds: Sequence[Round],
    cells: Sequence[CellRecord],
    last: Mapping[str, Observation],
    diverged: Collection[str],
) -> list[Told]:
    """What a sampler is told of the rounds so far, in the order of their proposals.

    A design counts as finished when all its seeds are, with their mean; as stopped, with the seed
    that came least far, if one was stopped or is paused; as diverged if one seed did. One that
    failed or is left out says nothing, nor does a proposal that the sweep had already.

    Args:
        last: the newest observation of each cell that has one.
        diverged: cells that ended with a NaN or infinite loss.
    """
    found = {cell.key: cell for cell in cells}
    designs: dict[str, list[CellRecord]] = {}
    for cell in cells:
        if cell.status is not Status.LEFT_OUT:
            designs.setdefault(_design(cell), []).append(cell)
    told = []
    for proposal in (each for one in rounds for each in one.proposals):
        if proposal.is_infeasible:
            told.append(_told(proposal, Result.INFEASIBLE))
        elif proposal.is_new and proposal.cell in found:
            design = designs.get(_design(found[proposal.cell]), [])
            if (one := _result(proposal, design, last, diverged)) is not None:
                told.append(one)
    return told


def _result(
    proposal: Proposal,
    design: Sequence[CellRecord],
    last: Mapping[str, Observation],
    diverged: Collection[str],
) -> Told | None:
    done = [cell for cell in design if cell.status.done and cell.key in last]
    if len(done) < len(design) or not design:
        return None
    scores = [last[cell.key].full_bits_per_byte for cell in done]
    finite = [score for score in scores if score is not None and math.isfinite(score)]
    stopped = [last[cell.key] for cell in done if cell.status in ENDED_EARLY]
    if any(cell.key in diverged for cell in done):
        return _told(proposal, Result.DIVERGED)
    if stopped:
        least = min(stopped, key=lambda one: (one.baseline_tokens, -one.bits_per_byte))
        return replace(
            _told(proposal, Result.STOPPED),
            score=least.bits_per_byte,
            tokens=least.baseline_tokens,
        )
    if len(finite) < len(done):
        return _told(proposal, Result.DIVERGED)
    return replace(_told(proposal, Result.FINISHED), score=fmean(finite))


def _told(proposal: Proposal, result: Result) -> Told:
    return Told(number=proposal.number, values=proposal.values, result=result)


def _design(cell: CellRecord) -> str:
    return json.dumps(without_seed(cell.values), sort_keys=True)


def with_recorded_rounds(
    plan: SweepPlan, recorded: Sequence[CellRecord], rounds: Sequence[Round]
) -> SweepPlan:
    """The plan of a search with the rounds that a sweep has, in place of a first one of its own.

    What was proposed stays proposed, however the search is continued; each design is asked for on
    the seeds that the command names.
    """
    search = plan.search
    if search is None or not rounds:
        return plan
    found = {cell.key: cell for cell in recorded}
    kept = tuple(rounds[: search.settings.rounds])
    cells: list[PlannedCell] = list(plan.cells[: len(search.seeds)])
    for proposal in (each for one in kept for each in one.new):
        assert proposal.cell is not None, "what is trained has a cell"
        cells += _on_seeds(found[proposal.cell], found, search.seeds, position=len(cells))
    own = tuple(note for note in plan.notes if note not in notes_of(plan.rounds))
    return replace(plan, cells=tuple(cells), rounds=kept, notes=own)


def _on_seeds(
    record: CellRecord, found: Mapping[str, CellRecord], seeds: Sequence[int], *, position: int
) -> Iterable[PlannedCell]:
    name = record.label.removesuffix(f" × seed {record.values['seed']}")
    for at, seed in enumerate(seeds):
        cell = Cell.from_values({**record.values, "seed": seed})
        if cell.key in found:
            yield found[cell.key]
        else:
            label = label_on_seed(name, seed, seeds)
            yield replace(planned_cell(cell, position + at), label=label)
