"""Which learning rate the study goes on with, from the baseline's own runs. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tune_app.statistics.best import p_text
from tune_app.statistics.multiplicity import holm
from tune_app.statistics.noise import Noise
from tune_app.statistics.paired import Scores, paired


@dataclass(frozen=True, kw_only=True)
class RateChoice:
    """The factor that the learning rate is multiplied by from now on."""

    factor: float
    reason: str
    evidence: Mapping[str, Any]


def settled_rate(
    scores: Mapping[float, Scores], *, noise: Noise | None, alpha: float
) -> RateChoice:
    """The baseline's own rate, unless another one is better by more than chance.

    Args:
        scores: factor → bits per byte by seed; 1 is the baseline's own.
        noise: of a single run.
        alpha: probability of changing a rate that is as good as the others, over all of them.
    """
    own = scores.get(1.0, {})
    others = [factor for factor in scores if factor != 1.0 and set(scores[factor]) & set(own)]
    evidence: dict[str, Any] = {
        "means": {
            f"{factor:g}": statistics.fmean(mine.values())
            for factor, mine in sorted(scores.items())
            if mine
        }
    }
    found = [(factor, paired(scores[factor], own, noise=noise)) for factor in others]
    compared = [(factor, one) for factor, one in found if one is not None]
    if not compared:
        reason = "no other learning rate was compared, so the baseline keeps its own"
        return RateChoice(factor=1.0, reason=reason, evidence=evidence)
    corrected = holm([one.p for _, one in compared])
    evidence["better_by"] = {f"{factor:g}": one.by for factor, one in compared}
    evidence["p"] = {f"{factor:g}": p for (factor, _), p in zip(compared, corrected, strict=True)}
    better = [
        (one.by, factor, p)
        for (factor, one), p in zip(compared, corrected, strict=True)
        if one.by > 0 and p < alpha
    ]
    if not better:
        reason = "no other learning rate is better by more than chance: " + ", ".join(
            f"× {factor:g} {-one.by:+.4f} bpb ({p_text(p)})"
            for (factor, one), p in zip(compared, corrected, strict=True)
        )
        return RateChoice(factor=1.0, reason=reason, evidence=evidence)
    by, factor, p = max(better)
    reason = f"the learning rate × {factor:g} is {by:.4f} bpb better ({p_text(p)})"
    if factor in (min(scores), max(scores)):
        reason += "; it is the last one tried, so a better one may lie beyond"
    return RateChoice(factor=factor, reason=reason, evidence=evidence)
