"""What each phase may cost at most, and whether that fits the study's budget. Pure.

Costs are in baseline tokens, which are known before anything runs. They are those of the worst
case: nothing is stopped, and nothing is adopted from an earlier phase.
"""

from __future__ import annotations

from dataclasses import dataclass

from tune_app.study.phases.base import Phase
from tune_app.study.spec import Study


@dataclass(frozen=True, kw_only=True)
class PhaseCost:
    """The worst case of a phase."""

    phase: Phase
    runs: int
    tokens: int
    """Baseline tokens of one run."""
    allowed: int | None
    """Baseline tokens that it may train on; None for no limit."""

    @property
    def total(self) -> int:
        """Baseline tokens of all its runs."""
        return self.runs * self.tokens


def costs(study: Study) -> tuple[PhaseCost, ...]:
    """The worst case of every phase, in order."""
    return tuple(
        PhaseCost(
            phase=phase,
            runs=phase.most_runs(study),
            tokens=phase.tokens_in(study),
            allowed=study.allowance(phase),
        )
        for phase in study.phases
    )


def refuse_over_budget(study: Study) -> None:
    """Raises ValueError if a phase could train on more tokens than its share of the budget.

    A share is kept for its phase before an earlier one spends anything. Phases without a share use
    what the shares leave, together.
    """
    if study.budget is None:
        return
    found = costs(study)
    for cost in found:
        if cost.phase.share is None or cost.allowed is None or cost.total <= cost.allowed:
            continue
        raise ValueError(
            f"the phase {cost.phase.name!r} does not fit its budget: {cost.runs} runs of "
            f"{cost.tokens:,} tokens are {cost.total:,}, and its share of {cost.phase.share:g} of "
            f"{study.budget:,} is {cost.allowed:,}; raise the budget or the share, or lower its "
            "tokens, its seeds or the number of its designs"
        )
    rest = [cost for cost in found if cost.phase.share is None]
    total = sum(cost.total for cost in rest)
    allowed = rest[0].allowed if rest else None
    if allowed is not None and total > allowed:
        names = ", ".join(f"{cost.phase.name} {cost.total:,}" for cost in rest)
        raise ValueError(
            f"the study does not fit its budget: its phases without a share could need {total:,} "
            f"tokens ({names}), and the budget of {study.budget:,} leaves them {allowed:,}; raise "
            "the budget, or lower tokens, seeds or the number of designs"
        )
