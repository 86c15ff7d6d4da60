"""What a search proposed: a table with the settings of each design, and why others were refused."""

from __future__ import annotations

from typing import Any

from tune_app import formats
from tune_app.plan.labels import axis_name, describe_value
from tune_app.plan.search.rounds import reasons
from tune_app.plan.search.settings import describe_search
from tune_app.results.designs import Design
from tune_app.results.summary import SweepResults
from tune_app.results.tables import Row


def proposal_rows(results: SweepResults) -> list[Row]:
    """One row per proposal, refused ones included, in the order in which they were made.

    A setting that a design does not have is empty. No rows for a sweep without a search.
    """
    designs = _by_cell(results)
    places = {design.label: place for place, design in enumerate(results.ranking, start=1)}
    axes = [axis for axis in results.axes if axis != "seed"]
    return [
        {
            "number": one.number,
            "round": each.number,
            "design": design.label if (design := designs.get(one.cell or "")) else None,
            "cell": one.cell,
            "refused": one.refused or None,
            "rank": places.get(design.label) if design and one.is_new else None,
            "full_bits_per_byte": design.mean if design and one.is_new else None,
            **{axis: _cell(one.values.get(axis)) for axis in axes},
        }
        for each in results.rounds
        for one in each.proposals
    ]


def search_section(results: SweepResults) -> dict[str, Any] | None:
    """The designs of a search by round for the report; None for a sweep without one."""
    if not results.rounds:
        return None
    designs = _by_cell(results)
    axes = [axis for axis in results.axes if axis != "seed"]
    planned = results.sweep.search.get("sampler", {}).get("rounds", len(results.rounds))
    own = [design for design in results.designs if design.is_baseline]
    found = [designs[one.cell] for each in results.rounds for one in each.new if one.cell]
    refused = [one for each in results.rounds for one in each.proposals if one.refused]
    number = sum(len(each.proposals) for each in results.rounds)
    return {
        "rounds": f"{len(results.rounds)} of {planned} rounds",
        "how": describe_search(results.sweep.search),
        "refused": f"{len(refused)} of {number} proposals: {reasons(refused)}" if refused else "",
        "heads": [axis_name(axis) for axis in axes],
        "rows": [
            {
                "label": design.label,
                "status": ", ".join(dict.fromkeys(one.cell.status.value for one in design.cells)),
                "score": formats.bits_per_byte(design.mean),
                "settings": [_shown(results, design, axis) for axis in axes],
            }
            for design in (*own, *found)
        ],
    }


def _by_cell(results: SweepResults) -> dict[str, Design]:
    return {one.cell.key: design for design in results.designs for one in design.cells}


def _shown(results: SweepResults, design: Design, axis: str) -> str:
    value = design.values.get(axis)
    if value is None or not results.applies(design, axis):
        return ""
    return describe_value(axis, value)


def _cell(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)
