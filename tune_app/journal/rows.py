"""Records as rows of the journal's tables, and back."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from tune_app.dollars.accounting import Run
from tune_app.dollars.bill import Bill
from tune_app.journal.endings import Ending, EndKind
from tune_app.journal.records import (
    Action,
    Amendment,
    Attempt,
    CellEvaluation,
    CellRecord,
    Change,
    Decision,
    Failure,
    FailureClass,
    Heartbeat,
    Observation,
    Place,
    Score,
    Status,
    SweepRecord,
)
from tune_app.plan.identity import completed
from tune_app.plan.search.records import Proposal, Round, Told


def dump(value: Mapping[str, Any]) -> str:
    """JSON; NaN and infinity keep their Python spelling, which json.loads reads back."""
    return json.dumps(value, sort_keys=True)


def observation(record: str) -> Observation:
    return Observation.from_values(json.loads(record))


def sweep(record: str, *, folder: str) -> SweepRecord:
    """A sweep's record, under the name of its folder."""
    values = json.loads(record)
    for name in ("seeds", "axes", "log_axes", "nuisance"):
        values[name] = tuple(values.get(name, ()))
    values["paired"] = tuple(map(tuple, values.get("paired", ())))
    return SweepRecord(**{**values, "begun_as": values["name"], "name": folder})


def sweep_row(sweep: SweepRecord) -> str:
    """Keeps the name under which the sweep was begun."""
    values = asdict(sweep)
    begun_as = values.pop("begun_as")
    return dump({**values, "name": begun_as or sweep.name})


def round_row(one: Round, *, at: float) -> tuple[Any, ...]:
    told = json.dumps([each.to_values() for each in one.told], sort_keys=True)
    return (one.number, dump(one.search), told, at)


def proposal_row(one: Proposal, *, round_number: int) -> tuple[Any, ...]:
    # Not sorted: the settings stand in the order in which they were chosen.
    return (one.number, round_number, json.dumps(dict(one.values)), one.cell, one.refused)


def round_record(row: sqlite3.Row, proposals: Iterable[sqlite3.Row]) -> Round:
    return Round(
        number=row["number"],
        search=json.loads(row["search"]),
        told=tuple(map(Told.from_values, json.loads(row["told"]))),
        proposals=tuple(
            Proposal(
                number=one["number"],
                values=json.loads(one["chosen"]),
                cell=one["cell"],
                refused=one["refused"],
            )
            for one in proposals
        ),
        at=row["at"],
    )


def cell_row(cell: CellRecord) -> tuple[Any, ...]:
    return (
        cell.key,
        cell.label,
        cell.position,
        dump(cell.values),
        cell.status.value,
        cell.reason,
        _dump_or_none(cell.config),
        _dump_or_none(cell.parameters),
        cell.flops_per_token,
        cell.attempts,
        _dump_or_none(cell.baseline_config),
        cell.former_key,
        cell.amendment,
    )


def cell_record(row: sqlite3.Row) -> CellRecord:
    return CellRecord(
        key=row["key"],
        label=row["label"],
        position=row["position"],
        values=completed(json.loads(row["cell"])),
        status=Status(row["status"]),
        reason=row["reason"],
        config=_load_or_none(row["config"]),
        baseline_config=_load_or_none(row["baseline_config"]),
        parameters=_load_or_none(row["parameters"]),
        flops_per_token=row["flops_per_token"],
        attempts=row["attempts"],
        former_key=row["former_key"],
        amendment=row["amendment"],
    )


def decision(row: sqlite3.Row) -> Decision:
    return Decision(
        cell=row["cell"],
        tokens=row["tokens"],
        action=Action(row["action"]),
        rule=row["rule"],
        reason=row["reason"],
        evidence=json.loads(row["evidence"]),
        at=row["at"],
        amendment=row["amendment"],
        arrival=row["arrival"],
    )


def decision_row(decision: Decision, *, arrival: int, at: float) -> tuple[Any, ...]:
    return (
        arrival,
        decision.cell,
        decision.tokens,
        decision.action.value,
        decision.rule,
        decision.reason,
        dump(dict(decision.evidence)),
        at,
    )


def amendment_row(amendment: Amendment) -> dict[str, Any]:
    changes = json.dumps([asdict(change) for change in amendment.changes])
    return {**asdict(amendment), "changes": changes}


def amendment(row: sqlite3.Row) -> Amendment:
    values = dict(row)
    changes = tuple(Change(**change) for change in json.loads(values.pop("changes")))
    return Amendment(**values, changes=changes)


def failure_row(failure: Failure) -> dict[str, Any]:
    return {**asdict(failure), "kind": failure.kind.value, "ended": int(failure.ended)}


def failure(row: sqlite3.Row) -> Failure:
    values = dict(row)
    del values["arrival"]
    kind, ended = FailureClass(values.pop("kind")), bool(values.pop("ended"))
    return Failure(**values, kind=kind, ended=ended)


def attempt(row: sqlite3.Row) -> Attempt:
    values = dict(row)
    del values["arrival"]
    place = Place(**{field.name: values.pop(field.name) for field in fields(Place)})
    return Attempt(**values, place=place)


def run(row: sqlite3.Row) -> Run:
    return Run(**{field.name: row[field.name] for field in fields(Run)})


def ending(row: sqlite3.Row) -> Ending | None:
    """How a run ended; None if it goes on, or that is unknown."""
    kind = row["ended_by"]
    return None if kind is None else Ending(kind=EndKind(kind), reason=row["ended_reason"])


def bill(record: str) -> Bill:
    return Bill.from_values(json.loads(record))


def heartbeat(row: sqlite3.Row) -> Heartbeat:
    return Heartbeat(**dict(row))


def score_row(score: Score) -> dict[str, Any]:
    # SQLite stores a NaN as NULL, which would read as "unknown".
    return {
        name: math.inf if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(score).items()
    }


def score(row: sqlite3.Row) -> Score:
    values = dict(row)
    del values["arrival"]
    return Score(**values)


def evaluation_row(evaluation: CellEvaluation) -> dict[str, Any]:
    return {
        **asdict(evaluation),
        "metrics": dump(dict(evaluation.metrics)),
        "notes": dump(dict(evaluation.notes)),
    }


def evaluation(row: sqlite3.Row) -> CellEvaluation:
    values = dict(row)
    del values["arrival"]
    metrics, notes = json.loads(values.pop("metrics")), json.loads(values.pop("notes"))
    return CellEvaluation(**values, metrics=metrics, notes=notes)


def _dump_or_none(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else dump(value)


def _load_or_none(text: str | None) -> Any:
    return None if text is None else json.loads(text)
