"""The results as tables: one row per cell, one per evaluation, one line per decision.

Values on the sample and on the full dev split never share a column. Numbers are written with full
precision, so that a table read back has the journal's own values, including NaN and infinities.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tune_app.journal.metrics import in_order
from tune_app.journal.records import PHASES, Decision
from tune_app.results.costs import charged_dollars
from tune_app.results.designs import CellResult
from tune_app.results.evaluated import columns_of
from tune_app.results.summary import SweepResults
from tune_app.results.whole_files import replacing

Row = Mapping[str, Any]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Characters with which a spreadsheet formula can start."""


def cell_rows(results: SweepResults) -> list[Row]:
    """One row per cell, in the sweep's order, all with the same columns.

    The cell's values have their own names (nested ones are left out). Prefixes: `solved_` for the
    solved sizes, `parameters_` for parameters by part, `last_` for the report's drawn metrics at
    the last evaluation. `tune_app.results.columns` says what each column means.
    """
    rank = {
        result.cell.key: place
        for place, design in enumerate(results.ranking, start=1)
        for result in design.finished
    }
    labels = {
        result.cell.key: design.label for design in results.designs for result in design.cells
    }
    apart = {
        result.cell.key: results.contest.told_apart(design)
        for design in results.ranking
        for result in design.finished
    }
    roles = _nuisance_roles(results)
    listed = results.listed_metrics
    return _rectangular(
        [
            {
                "position": result.cell.position,
                "cell": result.cell.key,
                "label": result.cell.label,
                "design": labels[result.cell.key],
                "is_baseline": result.cell.key == results.sweep.baseline,
                "status": result.cell.status.value,
                "rank": rank.get(result.cell.key),
                "told_apart": apart.get(result.cell.key),
                **roles.get(result.cell.key, {}),
                **_cell_values(result),
                **_outcome(results, result, listed),
            }
            for result in results.cells
        ]
    )


def _nuisance_roles(results: SweepResults) -> dict[str, Row]:
    """Whether each cell has its design's chosen nuisance value, and whether its score counts; no
    columns in a sweep without nuisance axes."""
    if not results.nuisance:
        return {}
    return {
        result.cell.key: {
            "is_chosen": design.chosen is not None and trial is design.chosen,
            "counts": result in design.finished,
        }
        for design in results.designs
        for trial in design.trials
        for result in trial.cells
    }


def curve_rows(results: SweepResults) -> list[Row]:
    """One row per evaluation, by cell and tokens, with a column for every reported metric."""
    names = in_order(
        name for result in results.cells for point in result.curve for name in point.metrics
    )
    gaps = {result.cell.key: dict(results.gap_curve(result)) for result in results.cells}
    return [
        {
            "label": result.cell.label,
            "status": result.cell.status.value,
            "cell": point.cell,
            "tokens": point.tokens,
            "baseline_tokens": point.baseline_tokens,
            **{name: point.metrics.get(name) for name in names},
            "gap_bits_per_byte": gaps[point.cell].get(point.baseline_tokens),
            **{f"seconds_{phase}": point.seconds.get(phase) for phase in PHASES},
        }
        for result in results.cells
        for point in result.curve
    ]


def names_of(rows: Sequence[Row]) -> list[str]:
    """The columns of a table; none if it has no rows."""
    return list(rows[0]) if rows else []


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Writes a CSV file, with an empty field for an unknown value.

    Text that a spreadsheet would run as a formula gets a leading apostrophe, as OWASP recommends
    (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if rows:
            writer.writerow(names_of(rows))
        writer.writerows([_field(value) for value in row.values()] for row in rows)


def _field(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def write_parquet(rows: Sequence[Row], path: Path) -> None:
    """Writes a Parquet file; an unknown value is null, a column of mixed types is text."""
    names = names_of(rows)
    table = pa.table({name: _column([row[name] for row in rows]) for name in names})
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def decision_rows(results: SweepResults) -> list[Row]:
    """One row per decision, in chronological order."""
    labels = {result.cell.key: result.cell.label for result in results.cells}
    return [_decision(decision, labels[decision.cell]) for decision in results.decisions]


def failure_rows(results: SweepResults) -> list[Row]:
    """One row per failure, in chronological order, with its traceback."""
    labels = {result.cell.key: result.cell.label for result in results.cells}
    rows: list[Row] = []
    for failure in results.failures:
        values = asdict(failure)
        del values["after"]  # the journal's own number
        rows.append({"label": labels[failure.cell], **values, "kind": failure.kind.value})
    return rows


def write_json_lines(rows: Sequence[Row], path: Path) -> None:
    """Writes one JSON object per row and line."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _cell_values(result: CellResult) -> Row:
    cell = result.cell
    values = {name: value for name, value in cell.values.items() if not isinstance(value, Mapping)}
    config = dict(cell.config or {})
    if {"n_heads", "head_dim"} <= config.keys():
        config["d_attention"] = config["n_heads"] * config["head_dim"]
        config["n_kv_heads"] = config.get("n_kv_heads") or config["n_heads"]
    if {"d_ff", "d_model"} <= config.keys():
        config["expansion"] = config["d_ff"] / config["d_model"]
    table = cell.parameters or {"rows": []}
    parts = {_column_name(row["part"]): row["parameters"] for row in table["rows"]}
    return {
        **{name: _plain(value) for name, value in values.items()},
        # A size that no cell has, such as a rank, gets no column.
        **{f"solved_{name}": _plain(value) for name, value in config.items() if value is not None},
        **{f"parameters_{part}": number for part, number in parts.items()},
        "parameters_total": table.get("total"),
        "parameters_active": table.get("active", table.get("total")),
        "embedding_share": table.get("embedding_share"),
    }


def _outcome(results: SweepResults, result: CellResult, drawn: Sequence[str]) -> Row:
    last, seconds = result.last, result.seconds
    sample_gaps = dict(results.gap_curve(result))
    return {
        "tokens_trained": 0 if last is None else last.tokens,
        "baseline_tokens_trained": 0 if last is None else last.baseline_tokens,
        "full_bits_per_byte": last and last.full_bits_per_byte,
        "full_perplexity": last and last.full_perplexity,
        "gap_bits_per_byte": results.cell_gap(result),
        "test_bits_per_byte": result.test and result.test.bits_per_byte,
        "test_perplexity": result.test and result.test.perplexity,
        "sample_bits_per_byte": last and last.bits_per_byte,
        "sample_perplexity": last and last.perplexity,
        "sample_baseline_token_perplexity": last and last.baseline_token_perplexity,
        "sample_gap_bits_per_byte": last and sample_gaps.get(last.baseline_tokens),
        "train_loss": last and last.train_loss,
        **{
            # Prefixed, because the bare name may be a setting of the cell, such as learning_rate.
            f"last_{name}": last and last.metrics.get(name)
            for name in drawn
            if name != "train_loss"
        },
        "rule": result.decision and result.decision.rule,
        "reason": result.decision.reason if result.decision else result.cell.reason,
        "tokens_per_second": result.tokens_per_second,
        **{f"seconds_{phase}": seconds[phase] for phase in PHASES},
        "seconds_total": sum(seconds.values()),
        "training_flops": result.training_flops,
        **charged_dollars(results, result),
        "amendment": result.cell.amendment,
        "attempts": result.cell.attempts,
        "resumes": result.resumes,
        "failures": len(result.failures),
        "failed_by": result.failure and result.failure.kind.value,
        "checkpoint": result.checkpoint,
        **columns_of(result.evaluations),
    }


def _decision(decision: Decision, label: str) -> Row:
    return {
        "cell": decision.cell,
        "label": label,
        "tokens": decision.tokens,
        "action": decision.action.value,
        "rule": decision.rule,
        "reason": decision.reason,
        "evidence": _strict(decision.evidence),
        "amendment": decision.amendment,
        "at": decision.at,
    }


def _strict(value: Any) -> Any:
    """Turns NaN and infinities, which JSON lacks, into text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _strict(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(entry) for entry in value]
    return value


def _column_name(part: str) -> str:
    return part.replace(" ", "_").replace("-", "_")


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, tuple, Mapping)) else value


def _rectangular(rows: Sequence[Row]) -> list[Row]:
    """Gives every row all columns; an infeasible cell, for example, has no sizes."""
    names = _merged(row.keys() for row in rows)
    return [{name: row.get(name) for name in names} for row in rows]


def _merged(lists: Iterable[Iterable[str]]) -> list[str]:
    """Every name once; a new name comes after the one that it first followed."""
    merged: list[str] = []
    for names in lists:
        place = 0
        for name in names:
            if name in merged:
                place = merged.index(name) + 1
            else:
                merged.insert(place, name)
                place += 1
    return merged


def _column(values: Sequence[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or len(kinds) < 2:
        return pa.array(values, type=pa.float64() if float in kinds else None)
    return pa.array([None if value is None else str(value) for value in values])
