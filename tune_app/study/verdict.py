"""The verdict of a study, from its finalists. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tune_app.plan.tokenizer import tokenizer_of
from tune_app.results.summary import SweepResults
from tune_app.statistics.best import Verdict, verdict_of
from tune_app.statistics.bootstrap import document_interval
from tune_app.study.found import Found, PhaseFound, design_key
from tune_app.study.spec import Study


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


def study_verdict(study: Study, found: Found) -> StudyVerdict | None:
    """The verdict on the finalists; None if there are none, or none of them finished."""
    phases = found.of("finalists")
    return verdict_of_phase(study, found, phases[-1]) if phases else None


def verdict_of_phase(study: Study, found: Found, phase: PhaseFound) -> StudyVerdict | None:
    """The verdict on the designs of one phase."""
    results = phase.results
    designs = [design for design in results.designs if design.scores]
    if not designs:
        return None
    tested = all(len(design.test_scores) == len(design.scores) for design in designs)
    scores = {design.label: design.test_scores if tested else design.scores for design in designs}
    scores = {name: mine for name, mine in scores.items() if mine}
    if not set.intersection(*(set(mine) for mine in scores.values())):
        return None
    verdict = verdict_of(
        scores,
        others=found.noise(int(results.sweep.tokens), without=[phase.name]),
        alpha=study.alpha,
        smallest_difference=study.smallest_difference,
    )
    bytes_per_token = _baseline_bytes_per_token(results)
    return StudyVerdict(
        verdict=verdict,
        split="test" if tested else "dev",
        baseline=next((design.label for design in designs if design.is_baseline), None),
        designs={design.label: design_key(design.values) for design in designs},
        values={design.label: design.values for design in designs},
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
