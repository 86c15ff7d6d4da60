"""Decides on each observation as it arrives, and writes both to the journal.

The referee combines the pure rules: a diverged loss, the end of training, ASHA's rungs, the kill
rule. What the journal already holds is replayed, never decided again: a cell that was stopped
stays stopped, and a retrained stretch meets the decisions of the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tune_app.journal.journal import Journal
from tune_app.journal.records import Action, CellRecord, Decision, Observation, Rule
from tune_app.stopping.kill_rule import Kill, KillRule, diverged, worse_than_baseline


@dataclass(frozen=True, kw_only=True)
class RungVerdict:
    """What a rung says to an arrival: whether it goes on, against which cutoff."""

    stop: bool
    milestone: int
    """Reference tokens of the rung."""
    cutoff: float | None
    """Bits per byte that had to be reached; None for the first arrival."""
    arrivals: int
    """Cells that reached the rung before."""


class Rungs(Protocol):
    """ASHA's memory: who reached which rung with what."""

    def arrive(self, cell: str, tokens: int, bits_per_byte: float) -> RungVerdict | None:
        """Notes an arrival. None where no new rung was reached."""


class NoRungs:
    """No early stopping by rank: every cell trains to its end."""

    def arrive(self, cell: str, tokens: int, bits_per_byte: float) -> RungVerdict | None:
        return None


def is_same_but_seed(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two cells' values are the same architecture, trained the same way."""
    return {**one, "seed": None} == {**other, "seed": None}


class Referee:
    """Judges the observations of one sweep.

    Args:
        journal: where observations and decisions go; what it holds already fills the rungs, in
            the order of arrival.
        rule: the kill rule.
        rungs: ASHA's, empty; or NoRungs.
        write: makes a write to the journal, again where it has to wait for room on the disk.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        rule: KillRule,
        rungs: Rungs,
        write: Callable[[Callable[[], None]], None] = lambda call: call(),
    ) -> None:
        self._journal = journal
        self._write = write
        self._rule = rule
        self._rungs = rungs
        self._cells = {cell.key: cell for cell in journal.cells()}
        baseline = self._cells[journal.sweep().baseline]
        self._baselines = {
            cell.values["seed"]: cell.key
            for cell in self._cells.values()
            if is_same_but_seed(cell.values, baseline.values)
        }
        self._curves: dict[str, list[Observation]] = {}
        for observation in journal.observations():
            self._note(observation)

    @property
    def curves(self) -> Mapping[str, Sequence[Observation]]:
        """The observations so far by cell, sorted by tokens."""
        return self._curves

    def is_baseline(self, cell: str) -> bool:
        return cell in self._baselines.values()

    def judge(self, observation: Observation) -> tuple[Decision | None, bool]:
        """Decides, and writes observation and decision as one.

        Returns:
            The decision, None to go on without remark; and whether the observation was new.
        """
        known, earlier = self._journal.replay(observation)
        if known:
            return earlier, False
        decision = self._decide(observation)
        # Only the write is repeated: a rung counts an arrival once.
        self._write(lambda: self._journal.record(observation, decision))
        return decision, True

    def _decide(self, observation: Observation) -> Decision | None:
        verdict = self._note(observation)
        cell = self._cells[observation.cell]
        if (kill := diverged(observation)) is not None:
            return _decision(observation, Action.STOP, Rule.DIVERGED, kill.reason, kill.evidence)
        if observation.full_bits_per_byte is not None:
            return _decision(
                observation,
                Action.FINISH,
                Rule.COMPLETED,
                f"trained all of its {observation.baseline_tokens:,} tokens",
                {},
            )
        immune = self.is_baseline(cell.key)
        if not immune and (kill := self._against_baseline(cell)) is not None:
            return _decision(observation, Action.STOP, Rule.KILL_RULE, kill.reason, kill.evidence)
        if verdict is None:
            return None
        evidence = {
            "milestone": verdict.milestone,
            "cutoff": verdict.cutoff,
            "arrivals": verdict.arrivals,
            "bits_per_byte": observation.bits_per_byte,
            "immune": immune,
        }
        stop = verdict.stop and not immune
        return _decision(
            observation,
            Action.STOP if stop else Action.CONTINUE,
            Rule.ASHA,
            _explain(verdict, observation, immune=immune),
            evidence,
        )

    def _against_baseline(self, cell: CellRecord) -> Kill | None:
        baseline = self._baselines.get(cell.values["seed"])
        return worse_than_baseline(
            self._curves[cell.key],
            self._curves.get(baseline, []) if baseline is not None else [],
            self._rule,
            baseline_seeds=[self._curves.get(key, []) for key in self._baselines.values()],
        )

    def _note(self, observation: Observation) -> RungVerdict | None:
        """Adds an observation to its curve and to the rungs."""
        curve = self._curves.setdefault(observation.cell, [])
        curve.append(observation)
        curve.sort(key=lambda point: point.tokens)
        if diverged(observation) is not None or observation.full_bits_per_byte is not None:
            return None
        return self._rungs.arrive(
            observation.cell, observation.baseline_tokens, observation.bits_per_byte
        )


def _decision(
    observation: Observation, action: Action, rule: Rule, reason: str, evidence: Mapping[str, Any]
) -> Decision:
    return Decision(
        cell=observation.cell,
        tokens=observation.tokens,
        action=action,
        rule=rule,
        reason=reason,
        evidence=evidence,
    )


def _explain(verdict: RungVerdict, observation: Observation, *, immune: bool) -> str:
    rung = f"rung {verdict.milestone:,}"
    if verdict.cutoff is None:
        return f"{rung}: the first to arrive, with bpb {observation.bits_per_byte:.4f}"
    comparison = "worse than" if verdict.stop else "within"
    text = (
        f"{rung}: bpb {observation.bits_per_byte:.4f} is {comparison} the cutoff "
        f"{verdict.cutoff:.4f} of {verdict.arrivals} earlier arrivals"
    )
    return f"{text}; the baseline goes on all the same" if immune and verdict.stop else text
