"""A finished sweep on more tokens: which cells go on, under which rules, and what is refused. Pure.

More tokens make another sweep beside the first, `NAME-600k`: its cells are trained longer, so they
have other keys and are ranked among themselves, and what the first sweep found stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tune_app.formats import counted
from tune_app.journal.records import CellRecord, Status, SweepRecord
from tune_app.plan.cell import Cell
from tune_app.plan.more_tokens import why_length_matters
from tune_app.plan.plan import SweepPlan
from tune_app.plan.rows import PlannedCell
from tune_app.stopping.all_rules import StoppingRules

OPTION = "--extend-tokens"
_MOST_NAMES = 4


@dataclass(frozen=True, kw_only=True)
class ExtendedSweep:
    """A sweep whose cells are those that another one finished, on more tokens."""

    plan: SweepPlan
    rules: StoppingRules
    """The kill rule of that sweep, and no scheduler: its cells have been chosen already."""
    shorter: tuple[CellRecord, ...]
    """The cells as that sweep finished them, in the order of the plan's."""
    left: tuple[CellRecord, ...]
    """Its other cells that have trained; they stay as they are and are no part of this sweep."""


def extended_sweep(
    sweep: SweepRecord, recorded: Sequence[CellRecord], *, tokens: int
) -> ExtendedSweep:
    """The sweep of the same cells on more tokens.

    Args:
        sweep: the record of the finished one.
        recorded: its cells.
        tokens: baseline tokens to train each cell on, those it has included.

    Raises ValueError if there are not more of them, if the sweep has not ended, or if each step of
    one of its cells depends on their number.
    """
    if tokens <= sweep.tokens:
        raise ValueError(
            f"{OPTION} is {tokens:,}, and the cells of {sweep.name} are trained on "
            f"{sweep.tokens:,} tokens; name all tokens that a cell is to have, more than those"
        )
    waiting = [cell for cell in recorded if cell.status.waits]
    if waiting:
        raise ValueError(
            f"the sweep {sweep.name} has not ended ({_named(waiting)} still to train); end it "
            f"first with: {sweep.command}"
        )
    finished = sorted(
        (cell for cell in recorded if cell.status is Status.FINISHED),
        key=lambda cell: cell.position,
    )
    if not finished or finished[0].key != sweep.baseline:
        raise ValueError(
            f"the baseline of {sweep.name} has not finished, and the others are compared with it; "
            "nothing can be extended"
        )
    for cell in finished:
        if reason := why_length_matters(Cell.from_values(cell.values)):
            raise ValueError(f"the cell {cell.label} cannot be trained on more tokens: {reason}")
    plan = SweepPlan(
        name=f"{sweep.name}-{short(tokens)}",
        space=sweep.space,
        cells=tuple(
            longer_cell(cell, position, tokens=tokens) for position, cell in enumerate(finished)
        ),
        corpus=sweep.corpus,
        tokens=tokens,
        seeds=tuple(sorted({int(cell.values["seed"]) for cell in finished})),
        axes=sweep.axes,
        nuisance=sweep.nuisance,
        paired=sweep.paired,
        log_axes=sweep.log_axes,
    )
    rules = replace(StoppingRules.from_record(sweep), scheduler=None)
    left = tuple(cell for cell in recorded if cell.attempts and cell not in finished)
    return ExtendedSweep(plan=plan, rules=rules, shorter=tuple(finished), left=left)


def longer_cell(cell: CellRecord, position: int, *, tokens: int) -> PlannedCell:
    """The same cell on more tokens, with evaluations as far apart as before."""
    shorter = Cell.from_values(cell.values)
    settings = shorter.settings
    evaluations = max(1, round(settings.evaluations * tokens / settings.tokens))
    longer = replace(shorter, settings=replace(settings, tokens=tokens, evaluations=evaluations))
    return PlannedCell(
        key=longer.key,
        label=cell.label,
        position=position,
        values=longer.values(),
        config=cell.config,
        baseline_config=cell.baseline_config,
        parameters=cell.parameters,
        flops_per_token=cell.flops_per_token,
    )


def short(tokens: int) -> str:
    """A number for a name, exactly: 600k, 2M, 614400."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if tokens % size == 0:
            return f"{tokens // size}{unit}"
    return str(tokens)


def _named(cells: Sequence[CellRecord]) -> str:
    shown = ", ".join(cell.label for cell in cells[:_MOST_NAMES])
    return f"{counted(len(cells), 'cell')}: {shown}{', …' * (len(cells) > _MOST_NAMES)}"
