"""The verdict of a study, from its finalists. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tune_app.plan.tokenizer import tokenizer_of
from tune_app.results.summary import SweepResults
from tune_app.statistics.best import Verdict, verdict_of
from tune_app.statistics.bootstrap import document_interval
from tune_app.statistics.paired import Comparison, paired
from tune_app.study.found import Found, PhaseFound, design_key
from tune_app.study.frame import RATE, Frame
from tune_app.study.race import by_the_race, compared


@dataclass(frozen=True, kw_only=True)
class StudyVerdict:
    """What a study says in the end."""

    verdict: Verdict
    """By the names that designs have among the finalists."""
    split: str
    """`test`, or `dev` if the corpus has no test split or a finalist could not be scored on it."""
    baseline: str | None
    """The baseline's name among the finalists."""
    designs: Mapping[str, str]
    """Name → design (`found.design_key`)."""
    values: Mapping[str, Mapping[str, Any]]
    """Name → values that a cell of the design has."""
    scores: Mapping[str, Mapping[int, float]]
    """Name → bits per byte by seed, on that split."""
    perplexities: Mapping[str, float]
    """Mean bits per byte as perplexity per token of the baseline's tokenizer."""
    documents: tuple[float, float] | None
    """Interval of the margin by a bootstrap over seeds and parts of the dev sample."""

    @property
    def perplexity_margin(self) -> float | None:
        """Runner-up less leader, per token of the baseline's tokenizer."""
        runner_up = self.verdict.runner_up
        if runner_up is None:
            return None
        return self.perplexities[runner_up] - self.perplexities[self.verdict.leader]


def study_verdict(study: Frame, found: Found) -> StudyVerdict | None:
    """The verdict on the finalists; None if there are none, or none of them finished.

    It rests on the phases up to theirs, so that no later one changes it.
    """
    phases = found.of("finalists", "race")
    if not phases:
        return None
    known = found.phases[: found.phases.index(phases[-1]) + 1]
    return verdict_of_phase(study, replace(found, phases=known), phases[-1])


def verdict_of_phase(study: Frame, found: Found, phase: PhaseFound) -> StudyVerdict | None:
    """The verdict on the designs of one phase."""
    results = phase.results
    designs = [design for design in results.designs if design.scores]
    if not designs:
        return None
    tested = all(len(design.test_scores) == len(design.scores) for design in designs)
    scores = {design.label: design.test_scores if tested else design.scores for design in designs}
    scores = {name: mine for name, mine in scores.items() if mine}
    scores = compared(results, scores)
    if not set.intersection(*(set(mine) for mine in scores.values())):
        return None
    verdict = verdict_of(
        scores,
        others=found.noise(int(results.sweep.tokens), without=[phase.name]),
        alpha=study.alpha,
        smallest_difference=study.smallest_difference,
    )
    verdict = by_the_race(results, verdict)
    bytes_per_token = _baseline_bytes_per_token(results)
    return StudyVerdict(
        verdict=verdict,
        split="test" if tested else "dev",
        baseline=next((design.label for design in designs if design.is_baseline), None),
        designs={design.label: design_key(design.values) for design in designs},
        values={design.label: design.values for design in designs},
        scores=scores,
        perplexities={
            name: math.exp(mean * math.log(2) * bytes_per_token)
            for name, mean in verdict.means.items()
        },
        documents=_documents(results, verdict),
    )


def _baseline_bytes_per_token(results: SweepResults) -> float:
    """Bytes of dev text per token of the baseline's tokenizer."""
    baseline = results.cells[0].cell.values
    return float(results.sweep.bytes_per_token[tokenizer_of(baseline).key])


def _documents(results: SweepResults, verdict: Verdict) -> tuple[float, float] | None:
    """Runner-up less leader on the parts of the dev sample, at the end of training."""
    parts: dict[str, dict[int, tuple[float, ...]]] = {}
    for design in results.designs:
        if design.label not in (verdict.leader, verdict.runner_up):
            continue
        parts[design.label] = {
            cell.seed: cell.last.sample_parts
            for cell in design.finished
            if cell.last is not None and cell.seed in verdict.seeds and cell.last.sample_parts
        }
    if verdict.runner_up is None or len(parts) < 2:
        return None
    return document_interval(parts[verdict.leader], parts[verdict.runner_up])


@dataclass(frozen=True, kw_only=True)
class AtRate:
    """Winner and runner-up at another learning rate."""

    factor: float
    comparison: Comparison
    """The runner-up's score less the winner's."""

    @property
    def flips(self) -> bool:
        """Whether the runner-up is ahead there."""
        return self.comparison.by < 0


def at_other_rates(study: Frame, found: Found, told: StudyVerdict) -> list[AtRate]:
    """The verdict's margin at each rate of a phase that repeated it."""
    verdict = told.verdict
    found_rates: list[AtRate] = []
    for phase in found.of("rates"):
        tokens = int(phase.results.sweep.tokens)
        for factor in phase.origin["evidence"]["rates"]:
            scores = [
                _scores_at(phase, told.values[name], factor, told.split)
                for name in (verdict.leader, str(verdict.runner_up))
            ]
            noise = found.noise(tokens)
            compared = paired(scores[0], scores[1], noise=noise)
            if compared is not None:
                found_rates.append(AtRate(factor=float(factor), comparison=compared))
    return found_rates


def _scores_at(
    phase: PhaseFound, values: Mapping[str, Any], factor: float, split: str
) -> dict[int, float]:
    """Bits per byte by seed of a design at a factor of its learning rate."""
    wanted = design_key({**values, RATE: factor * float(values[RATE])})
    scores = {}
    for cell in phase.results.cells:
        if design_key(cell.cell.values) != wanted:
            continue
        if split == "test":
            if cell.test is not None:
                scores[cell.seed] = cell.test.bits_per_byte
        elif cell.score is not None:
            scores[cell.seed] = cell.score
    return scores


def control_verdict(study: Frame, phase: PhaseFound) -> Verdict | None:
    """The verdict on one design under several names; None if a run did not finish.

    Names are compared seed by seed in the order of their seeds, which pairs nothing.
    """
    evidence = phase.origin["evidence"]
    names, seeds = int(evidence["names"]), list(evidence["seeds"])
    each = len(seeds) // names
    by_seed = {cell.seed: cell.score for cell in phase.results.cells}
    scores: dict[str, dict[int, float]] = {}
    for name in range(names):
        found = [by_seed.get(seed) for seed in seeds[name * each : (name + 1) * each]]
        known = {at: score for at, score in enumerate(found) if score is not None}
        if len(known) < each:
            return None
        scores[f"name {name + 1}"] = known
    return verdict_of(scores, alpha=study.alpha, smallest_difference=study.smallest_difference)
