"""Trains stopped cells to their end, to see how often stopping was wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tune_app.study.audit import stopped_runs
from tune_app.study.found import Found
from tune_app.study.frame import Frame
from tune_app.study.phases.base import Entry, Phase, Promotion, needs


@dataclass(frozen=True, kw_only=True)
class AuditPhase(Phase):
    """All stopped cells, or a sample if they are many; each goes on from its checkpoint."""

    KIND: ClassVar[str] = "audit"
    ABOUT: ClassVar[str] = "stopped cells, trained to their end"

    most: int = 20
    """Stopped cells that are taken up at most; of more, a sample that depends on nothing else."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most < 1:
            raise ValueError(f"most is {self.most}; it must be at least 1")

    def check(self, study: Frame, before: Sequence[Phase]) -> None:
        needs(self, before, "rank")
        ranked = [phase.tokens_in(study) for phase in before if phase.KIND == "rank"]
        if len(set(ranked)) > 1:
            raise ValueError(
                f"the phase {self.name!r} follows rankings of {' and '.join(map(str, ranked))} "
                "tokens; one sweep has one number of tokens"
            )
        object.__setattr__(self, "tokens", ranked[-1])

    def most_runs(self, study: Frame) -> int:
        return self.most

    def promote(self, study: Frame, found: Found, *, seeds: Sequence[int]) -> Promotion:
        tokens = self.tokens_in(study)
        stopped = stopped_runs(found)
        chosen = sorted(stopped, key=lambda run: hashlib.sha256(run.key.encode()).hexdigest())
        chosen = [run for run in stopped if run in chosen[: self.most]]
        baseline = study.baseline_cell(tokens=tokens, rate=found.rate).values()
        own = sorted({run.seed for run in chosen}) or [0]
        entries = [Entry(values=baseline, seeds=tuple(own))]
        entries += [Entry(values=run.values, seeds=(run.seed,)) for run in chosen]
        sample = "" if len(chosen) == len(stopped) else f", a sample of {len(stopped)}"
        return Promotion(
            entries=tuple(entries),
            reason=f"{len(chosen)} stopped cells{sample} go on from their checkpoints to the end"
            if chosen
            else "no cell was stopped, so there is nothing to audit",
            evidence={"stopped": [run.key for run in stopped], "audited": [r.key for r in chosen]},
        )
