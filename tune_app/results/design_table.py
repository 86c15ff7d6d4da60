"""The designs as a table: what each is compared at, how that was chosen, and what it cost."""

from __future__ import annotations

from typing import Any

from tune_app.journal.records import ENDED_EARLY, Status
from tune_app.results.designs import Design
from tune_app.results.summary import SweepResults
from tune_app.results.tables import Row


def design_rows(results: SweepResults) -> list[Row]:
    """One row per design, the ranked ones first, all with the same columns.

    `chosen_` precedes the nuisance values. `tune_app.results.columns` says what each column means.
    """
    ranking = results.ranking
    places = {design.label: place for place, design in enumerate(ranking, start=1)}
    others = [design for design in results.designs if design.label not in places]
    return [_row(results, design, places.get(design.label)) for design in (*ranking, *others)]


def _row(results: SweepResults, design: Design, rank: int | None) -> Row:
    spread = design.spread
    return {
        "rank": rank,
        "design": design.label,
        "is_baseline": design.is_baseline,
        **{
            axis: _plain(design.values.get(axis)) if results.applies(design, axis) else None
            for axis in results.axes
        },
        **_choice(results, design),
        "full_bits_per_byte": design.mean,
        "standard_deviation": design.deviation,
        "gap_bits_per_byte": results.gap(design),
        "seeds_scored": len(design.finished),
        **_noise(results, design),
        **(
            {
                "best_bits_per_byte": spread and spread[0],
                "worst_bits_per_byte": spread and spread[1],
            }
            if results.nuisance
            else {}
        ),
        **{
            f"cells_{name}": sum(cell.cell.status in statuses for cell in design.cells)
            for name, statuses in _COUNTED.items()
        },
        **charged(design),
        **(
            {}
            if results.account is None
            else {"charged_dollars": sum(cell.dollars or 0.0 for cell in design.cells)}
        ),
    }


def _noise(results: SweepResults, design: Design) -> Row:
    """How far it is behind the leader, and the noise by which that is measured."""
    contest, leader = results.contest, results.leader
    margin, noise = contest.margins.get(design.label), contest.noise
    behind = None
    if leader is not None and leader.mean is not None and design.mean is not None:
        behind = None if design is leader else design.mean - leader.mean
    return {
        "behind_leader_bits_per_byte": behind,
        "behind_leader_sigmas": margin and margin.sigmas,
        "told_apart": contest.told_apart(design),
        "noise_sigma": noise and noise.sigma,
        "noise_degrees_of_freedom": noise and noise.degrees_of_freedom,
        "noise_source": contest.why_unknown if noise is None else noise.source,
    }


_COUNTED = {
    "finished": (Status.FINISHED,),
    "stopped": ENDED_EARLY,
    "failed": (Status.FAILED,),
    "to_train": tuple(status for status in Status if status.waits),
}


def _choice(results: SweepResults, design: Design) -> Row:
    """How its nuisance value was chosen; no columns in a sweep without nuisance axes."""
    if not results.nuisance:
        return {}
    choice, chosen = design.choice, design.chosen
    return {
        **{
            f"chosen_{axis}": None if chosen is None else _plain(chosen.values.get(axis))
            for axis in results.nuisance
        },
        "chosen_on_seed": choice and choice.chosen_on,
        "scored_on_seeds": "" if choice is None else " ".join(map(str, choice.scored_on)),
        "held_out": choice and choice.held_out,
        "values_compared": 0 if choice is None else choice.compared,
        "values_tried": len(design.trials),
        "choice_reason": "" if choice is None else choice.reason,
    }


def charged(design: Design) -> Row:
    """What all cells of a design cost, at every nuisance value and seed, stopped ones included."""
    lasts = [cell.last for cell in design.cells if cell.last is not None]
    return {
        "charged_baseline_tokens": sum(last.baseline_tokens for last in lasts),
        "charged_training_flops": sum(cell.training_flops or 0.0 for cell in design.cells),
        "charged_seconds": sum(sum(cell.seconds.values()) for cell in design.cells),
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)
