"""What the user's kill rule is by the seeds' noise, in words. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from tune_app.formats import plain
from tune_app.plan.tokenizer import tokenizer_of
from tune_app.statistics.paired import two_sided
from tune_app.study.found import Found, PhaseFound, design_key


def kill_rule_lines(found: Found) -> Iterator[str]:
    """For each ranking with a kill rule: its margin in σ, and how often noise alone reaches it."""
    for phase in found.of("rank"):
        rule = phase.results.sweep.kill_rule
        margin = margin_in_bits(found, phase)
        noise = found.noise(int(phase.results.sweep.tokens))
        if margin is None or noise is None or noise.sigma == 0:
            continue
        sigmas = margin / noise.sigma
        # The difference of two runs has √2 times the noise of one.
        false = two_sided(sigmas / math.sqrt(2), noise.degrees_of_freedom) / 2
        yield (
            f"the kill rule in {phase.name}, {plain(float(rule['margin']))} {rule['unit']} worse "
            f"than the baseline, is {margin:.4f} bpb or {sigmas:.1f} σ at the end: a design "
            f"that is as good as the baseline is that far behind in {100 * false:.2g} % of single "
            "evaluations, so noise alone stops at most as many; that a curve starts slowly and "
            "ends well is not in it, only an audit shows that"
        )


def margin_in_bits(found: Found, phase: PhaseFound) -> float | None:
    """The kill rule's margin in bits per byte at the baseline's end; None if it has none."""
    sweep = phase.results.sweep
    unit, margin = sweep.kill_rule.get("unit"), float(sweep.kill_rule.get("margin", 0.0))
    if unit == "bpb":
        return margin
    if unit != "ppl":
        return None
    baseline = phase.results.cells[0].cell.values
    scores = found.scores(int(sweep.tokens)).get(design_key(baseline))
    if not scores:
        return None
    bits = math.log(2) * sweep.bytes_per_token[tokenizer_of(baseline).key]
    perplexity = math.exp(statistics.fmean(scores.values()) * bits)
    return math.log1p(margin / perplexity) / bits
