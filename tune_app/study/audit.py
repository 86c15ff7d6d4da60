"""How often stopping a cell was wrong, from stopped cells that were trained to their end. Pure.

What is wrong depends on the rule. The kill rule stops a cell for being worse than the baseline: it
was wrong if the cell ends no worse than the baseline on its seed. Every other rule stops it for its
rank: it was wrong if the cell ends better than the best cell that the rule let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tune_app.journal.records import DIVERGED, ENDED_EARLY
from tune_app.statistics.rates import rate_text
from tune_app.stopping.curves import without_seed
from tune_app.study.found import Found, Run

KILL_RULE = "kill_rule"


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A stopped cell that was trained to its end."""

    label: str
    key: str
    rule: str
    at: int
    """Tokens at which it was stopped, of its own tokenizer."""
    score: float
    """Bits per byte of the full dev split, at the end."""
    reference: float
    """What it is compared with, likewise."""

    @property
    def wrong(self) -> bool:
        """Whether it should not have been stopped."""
        return (
            self.score <= self.reference if self.rule == KILL_RULE else self.score < self.reference
        )


def stopped_runs(found: Found) -> list[Run]:
    """The cells that a rule stopped in a ranking; not those that diverged."""
    runs = {}
    for phase in found.of("rank"):
        for cell in phase.results.cells:
            decision = cell.decision
            if cell.cell.status not in ENDED_EARLY or decision is None:
                continue
            if decision.rule != DIVERGED:
                runs[cell.cell.key] = next(run for run in found.runs if run.key == cell.cell.key)
    return list(runs.values())


def audited(found: Found) -> list[Audited]:
    """What became of the stopped cells that audits have trained to their end."""
    done = {
        cell.cell.key: cell.score
        for phase in found.of("audit")
        for cell in phase.results.cells
        if cell.score is not None
    }
    cells = []
    for phase in found.of("rank"):
        kept = [cell.score for cell in phase.results.cells if cell.score is not None]
        baseline = without_seed(phase.results.cells[0].cell.values)
        own = {
            run.seed: run.score
            for run in found.runs
            if run.score is not None and without_seed(run.values) == baseline
        }
        for cell in phase.results.cells:
            score, decision = done.get(cell.cell.key), cell.decision
            if cell.cell.status not in ENDED_EARLY or decision is None or score is None:
                continue
            by_baseline = decision.rule == KILL_RULE
            reference = own.get(cell.seed) if by_baseline else min(kept, default=None)
            if reference is not None and decision.rule != DIVERGED:
                cells.append(
                    Audited(
                        label=cell.cell.label,
                        key=cell.cell.key,
                        rule=decision.rule,
                        at=decision.tokens,
                        score=score,
                        reference=reference,
                    )
                )
    return cells


def audit_text(cells: list[Audited]) -> str:
    """The rate of false kills with its interval, pooled over rules; none under five cells."""
    return rate_text(sum(cell.wrong for cell in cells), len(cells))


def audit_values(cells: list[Audited]) -> list[Mapping[str, Any]]:
    """The audit as plain values."""
    return [
        {
            "cell": cell.label,
            "key": cell.key,
            "rule": cell.rule,
            "at": cell.at,
            "bits_per_byte": cell.score,
            "reference": cell.reference,
            "wrong": cell.wrong,
        }
        for cell in cells
    ]
