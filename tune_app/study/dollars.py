"""A study's limit in dollars: whether it may start, and what is left for a phase. Pure.

What later phases may cost at most is kept for them, so that a ranking cannot spend what the
finalists need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tune_app.dollars.limit import dollars
from tune_app.study.forecast import PhaseForecast


def refuse_over_dollars(
    forecasts: Iterable[PhaseForecast], *, limit: float | None, spent: float
) -> None:
    """Raises ValueError if a study would exceed its limit, or has reached it.

    Args:
        forecasts: of all its phases.
        limit: in dollars; None for none.
        spent: by earlier runs; one that has spent something may go on until the limit is reached.
    """
    if limit is None:
        return
    if spent >= limit:
        raise ValueError(
            f"the study has spent {dollars(spent)}, and --max-dollars is {limit:g}; raise it to "
            "go on"
        )
    known = {one.name: one.dollars[1] for one in forecasts if one.dollars is not None}
    total = sum(known.values())
    if spent == 0 and total > limit:
        parts = ", ".join(f"{name} {dollars(most)}" for name, most in known.items())
        raise ValueError(
            f"the study does not fit its budget: it may cost {dollars(total)} if nothing is "
            f"stopped ({parts}), over --max-dollars {limit:g}; raise that, or lower tokens, seeds "
            "or the number of designs"
        )


def limit_of_phase(
    limit: float | None,
    *,
    spent: Mapping[str, float],
    later: Iterable[PhaseForecast],
    phase: str,
) -> float | None:
    """The dollars that a phase may cost, the earlier runs of it included; None for no limit.

    Args:
        limit: of the study.
        spent: by phase, its own among them.
        later: the phases behind it, for which what they may cost at most is kept.
        phase: its name.

    Raises ValueError if nothing is left for it.
    """
    if limit is None:
        return None
    others = sum(cost for name, cost in spent.items() if name != phase)
    kept = sum(
        max(0.0, one.dollars[1] - spent.get(one.name, 0.0))
        for one in later
        if one.dollars is not None
    )
    left = limit - others - kept
    if left <= spent.get(phase, 0.0):
        raise ValueError(
            f"nothing is left of --max-dollars {limit:g} for the phase {phase!r}: the other phases "
            f"have spent {dollars(others)}, and {dollars(kept)} is kept for those behind it; raise "
            "--max-dollars to go on"
        )
    return left
