"""Proposes the rounds of a search: feasible designs that the sweep does not have yet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data.tokenizers.spec import TokenizerSpec, size_of_file
from model.sizing.refusals import diagnose
from model.sizing.search import search as solution
from tune_app.plan.cell import Cell
from tune_app.plan.identity import FROZEN_DEFAULTS
from tune_app.plan.planned_cells import planned_cell
from tune_app.plan.rows import PlannedCell
from tune_app.plan.search.records import Proposal, Round, Told
from tune_app.plan.search.sampling import Asked
from tune_app.plan.search.settings import SamplerSettings
from tune_app.plan.search.space import SearchSpace
from tune_app.plan.tokenizer import OPTIONS, SIZE, tokenizer_of

_MOST_REASONS = 3
_LONGEST = 160


class SearchExhaustedError(ValueError):
    """No proposal of the first round can be trained."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search before it runs."""

    space: SearchSpace
    settings: SamplerSettings
    shared: Mapping[str, Any]
    """The values that all its cells share, with the baseline's model."""
    seeds: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """The search as plain values, for the journal."""
        return {"sampler": self.settings.as_dict(), "parameters": self.space.as_dict()}

    @property
    def tokenizers(self) -> list[TokenizerSpec]:
        """Every tokenizer that a proposal may have."""
        usual = {**FROZEN_DEFAULTS, **self.shared}
        found = []
        for values in self.space.tokenizers:
            own = {**usual, **values}
            size = size_of_file(own[OPTIONS]) if own.get(SIZE) is None else own[SIZE]
            found.append(tokenizer_of({**own, SIZE: size}).resolved())
        return found

    def cells(self, values: Mapping[str, Any]) -> tuple[Cell, ...]:
        """A design's cells, one a seed. Raises ValueError for a model that cannot be."""
        return tuple(
            Cell.from_values({**self.shared, **values, "seed": seed}) for seed in self.seeds
        )


@dataclass(frozen=True, kw_only=True)
class NextRound:
    """A round that was just proposed, and its cells."""

    round: Round
    cells: tuple[PlannedCell, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the proposals that are not trained."""
        return notes_of([self.round])


def notes_of(rounds: Iterable[Round]) -> tuple[str, ...]:
    """A line for each round with proposals that are not trained."""
    found = []
    for one in rounds:
        if refused := [each for each in one.proposals if each.refused]:
            last = "" if one.is_full else "; the round is not full, so it is the last one"
            found.append(
                f"{len(refused)} of {len(one.proposals)} proposals of round {one.number} were "
                f"refused ({reasons(refused)}){last}"
            )
    return tuple(found)


def propose(
    search: Search,
    *,
    number: int,
    first: int,
    told: Sequence[Told],
    known: Mapping[str, str],
    position: int,
) -> NextRound:
    """The next round, a function of its arguments alone.

    Args:
        number: of the round, from 1.
        first: number of its first proposal.
        told: what became of every earlier proposal, in their order.
        known: the label of every cell of the sweep by its key.
        position: of its first cell in the sweep.

    Raises SearchExhaustedError if it is the first round and has nothing to train.
    """
    settings, asked = search.settings, Asked(search.space, search.settings, told)
    taken, usual = dict(known), {**FROZEN_DEFAULTS, **search.shared}
    proposals: list[Proposal] = []
    cells: list[PlannedCell] = []
    new = 0
    while new < settings.cells and len(proposals) - new <= settings.refusals:
        proposal = Proposal(number=first + len(proposals), values=asked.ask(first + len(proposals)))
        proposal, design = _solved(search, proposal, taken)
        if proposal.refused:
            asked.refuse(infeasible=proposal.is_infeasible)
        else:
            new += 1
            label = design_label(f"{number}.{new}", proposal.values, usual)
            for cell in design:
                planned = planned_cell(cell, position + len(cells))
                name = label_on_seed(label, cell.seed, search.seeds)
                cells.append(replace(planned, label=name))
                taken[cell.key] = label
        proposals.append(proposal)
    found = Round(
        number=number, search=search.as_dict(), told=tuple(told), proposals=tuple(proposals)
    )
    if number == 1 and not cells:
        raise SearchExhaustedError(
            f"none of {len(proposals)} proposals can be trained: {reasons(proposals)}; widen the "
            "space, or choose another budget"
        )
    return NextRound(round=found, cells=tuple(cells))


def design_label(number: str, values: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """`2.1 geglu factorized`: round and place in it, then the variants that are not the usual."""
    words = [
        value
        for name, value in values.items()
        if isinstance(value, str) and value != usual.get(name)
    ]
    return " ".join([number, *dict.fromkeys(words)])


def label_on_seed(label: str, seed: int, seeds: Sequence[int]) -> str:
    """The label of a design's cell on one of the sweep's seeds."""
    return label if len(seeds) == 1 else f"{label} × seed {seed}"


def reasons(proposals: Iterable[Proposal]) -> str:
    """Why proposals were refused, the most frequent reasons first, with how often."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for one in proposals:
        if one.refused:
            kind = re.sub(r"\d[\d.,]*", "…", one.refused.partition(";")[0])
            counts[kind] += 1
            examples.setdefault(kind, one.refused.partition(";")[0])
    shown = [
        f"{number} × {_short(examples[kind])}" for kind, number in counts.most_common(_MOST_REASONS)
    ]
    more = sum(counts.values()) - sum(number for _, number in counts.most_common(_MOST_REASONS))
    return "; ".join([*shown, *([f"{more} for other reasons"] if more else [])])


def _solved(
    search: Search, proposal: Proposal, taken: Mapping[str, str]
) -> tuple[Proposal, tuple[Cell, ...]]:
    """The proposal with its cell, or with why it is refused; and the cells that it adds."""
    try:
        design = search.cells(proposal.values)
        for cell in design:
            cell.training_config()
    except ValueError as error:
        return replace(proposal, refused=" ".join(str(error).split())), ()
    model = design[0].model
    if solution(model) is None:
        reason, remedy = diagnose(model)
        return replace(proposal, refused=f"{reason}; {remedy}"), ()
    key = design[0].key
    if key in taken:
        return replace(proposal, cell=key, refused=f"the sweep has it as {taken[key]}"), ()
    return replace(proposal, cell=key), design


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
