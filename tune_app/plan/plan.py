"""From a search space and a person's wishes to a list of solved cells: the sweep before it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from data.tokenizers.spec import TokenizerSpec
from model.sizing.budget import InfeasibleBudget, solve
from model.sizing.cost import training_flops_per_token
from model.sizing.table import parameter_table
from tune_app.journal.records import CellRecord, Status
from tune_app.plan.cell import Cell
from tune_app.plan.space import Space, expand, label
from tune_app.plan.tokenizer import tokenizer_of
from tune_app.stopping.asha import AshaSettings
from tune_app.stopping.kill_rule import KillRule

Settings = TypeVar("Settings", AshaSettings, KillRule)

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

SPAN_TOKENS = 1_000_000
"""The kill rule's span where neither the space nor the person says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a person asks of a sweep beyond its space; None leaves it to the space."""

    name: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    """Values that replace the space's fixed ones."""
    seeds: Sequence[int] = (0,)
    scheduler: str = "asha"
    reduction_factor: int | None = None
    grace_fraction: float | None = None
    kill_unit: str | None = None
    kill_margin: float | None = None
    kill_span: int | None = None


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """A sweep with every cell solved, or known to be infeasible."""

    name: str
    space: str
    cells: tuple[CellRecord, ...]
    """The baseline first."""
    corpus: str
    tokens: int
    seeds: tuple[int, ...]
    axes: tuple[str, ...]
    asha: AshaSettings | None
    kill_rule: KillRule

    @property
    def baseline(self) -> CellRecord:
        return self.cells[0]

    @property
    def feasible(self) -> tuple[CellRecord, ...]:
        return tuple(cell for cell in self.cells if cell.status is not Status.INFEASIBLE)

    @property
    def tokenizers(self) -> list[TokenizerSpec]:
        """What the cells need, each once, the smallest first."""
        found = {tokenizer_of(cell.values) for cell in self.feasible}
        return sorted(found, key=lambda tokenizer: (tokenizer.vocab_size, tokenizer.key))


def make_plan(space: Space, wishes: Wishes) -> SweepPlan:
    """Expands a space and solves each cell; nothing is started and nothing read.

    Raises ValueError where a wish is impossible, where the baseline is infeasible, or where cells
    do not share what makes them comparable.
    """
    name = wishes.name or space.name
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"the sweep's name is {name!r}; it names a folder, so it must be made of letters, "
            "digits, '.', '_' and '-', and start with a letter or a digit"
        )
    cells = expand(space, wishes.values, seeds=wishes.seeds)
    axes = tuple(space.axes)
    records = tuple(
        _solved(cell, label(cell, axes, several_seeds=len(wishes.seeds) > 1), position)
        for position, cell in enumerate(cells)
    )
    baseline = records[0]
    if baseline.status is Status.INFEASIBLE:
        raise ValueError(f"the baseline itself is infeasible: {baseline.reason}")
    for shared in ("corpus", "tokens", "evaluations", "evaluation_bytes"):
        if len({str(cell.values[shared]) for cell in records}) > 1:
            raise ValueError(
                f"{shared} differs between cells, so nothing could be compared; "
                "give all of them the same"
            )
    tokens = int(baseline.values["tokens"])
    return SweepPlan(
        name=name,
        space=space.name,
        cells=_distinct(records),
        corpus=str(baseline.values["corpus"]),
        tokens=tokens,
        seeds=tuple(wishes.seeds),
        axes=axes if len(wishes.seeds) == 1 else (*axes, "seed"),
        asha=_asha(space, wishes, tokens),
        kill_rule=_kill_rule(space, wishes, tokens),
    )


def _solved(cell: Cell, name: str, position: int) -> CellRecord:
    record = CellRecord(
        key=cell.key,
        label=name,
        position=position,
        values=cell.values(),
        status=Status.PENDING,
    )
    try:
        config = solve(cell.model)
    except InfeasibleBudget as error:
        return replace(record, status=Status.INFEASIBLE, reason=str(error))
    return replace(
        record,
        config=config.values(),
        parameters=parameter_table(config).as_dict(),
        flops_per_token=training_flops_per_token(config),
    )


def _distinct(records: Sequence[CellRecord]) -> tuple[CellRecord, ...]:
    """Labels made unique: a baseline outside the axes' values may look like one of the cells."""
    seen: dict[str, int] = {}
    distinct = []
    for record in records:
        seen[record.label] = seen.get(record.label, 0) + 1
        repeat = seen[record.label]
        distinct.append(
            record if repeat == 1 else replace(record, label=f"{record.label} ({repeat})")
        )
    return tuple(distinct)


def _asha(space: Space, wishes: Wishes, tokens: int) -> AshaSettings | None:
    if wishes.scheduler == "none":
        return None
    if wishes.scheduler != "asha":
        raise ValueError(f"the scheduler is {wishes.scheduler!r}; it must be asha or none")
    values = dict(space.scheduler)
    if wishes.reduction_factor is not None:
        values["reduction_factor"] = wishes.reduction_factor
    if wishes.grace_fraction is not None:
        values["grace_fraction"] = wishes.grace_fraction
    settings = _settings(AshaSettings, values, "SCHEDULER")
    if not settings.milestones(tokens):
        raise ValueError(
            f"ASHA's first rung, at {settings.grace_fraction} of {tokens:,} tokens, lies at a "
            "trial's end; train on more tokens, or take the scheduler none"
        )
    return settings


def _kill_rule(space: Space, wishes: Wishes, tokens: int) -> KillRule:
    values = dict(space.kill_rule)
    fraction = values.pop("span_fraction", None)
    if fraction is not None:
        values["span"] = round(fraction * tokens)
    values.setdefault("span", SPAN_TOKENS)
    wished = {"unit": wishes.kill_unit, "margin": wishes.kill_margin, "span": wishes.kill_span}
    own_unit = values.get("unit", KillRule().unit)
    values |= {name: value for name, value in wished.items() if value is not None}
    rule = _settings(KillRule, values, "KILL_RULE")
    if rule.unit not in (own_unit, "off") and wishes.kill_margin is None:
        raise ValueError(
            f"the kill rule's margin of {rule.margin:g} is meant in {own_unit}, not in "
            f"{rule.unit}; say --kill-margin too, for example 0.01 for bpb or 3 for sigma"
        )
    if rule.unit == "sigma" and len(wishes.seeds) < 2:
        raise ValueError(
            "the kill rule's unit sigma needs the baseline on at least two seeds, not "
            f"{len(wishes.seeds)}; add --seeds, or take the unit bpb"
        )
    return rule


def _settings(kind: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """Settings from a space's plain values. Raises ValueError for a name that they do not have."""
    known = [field.name for field in fields(kind)]
    for name in values:
        if name not in known:
            raise ValueError(f"{name!r} is no setting of {where}; known: {', '.join(known)}")
    return kind(**values)
