"""What a ranking may be taken for, in sentences: the leader's margin against the seeds' noise."""

from __future__ import annotations

from collections.abc import Sequence

from tune_app import formats
from tune_app.results.contest import Contest
from tune_app.results.designs import Design
from tune_app.results.race import race_text
from tune_app.results.summary import SweepResults
from tune_app.results.unfinished import unfinished_text
from tune_app.statistics.noise import LIMIT, Margin, Noise

CLOSE = "≈"
"""Marks what is not told apart from the leader."""

_MOST_NAMES = 2
_SEEDS = 3
"""Seeds that give a first idea of the noise."""


def verdict(results: SweepResults) -> str:
    """One sentence: by how much the leader leads, what it is not told apart from, and which cells
    that were not trained to the end may be as good; empty without a leader.

    Of a race it says how that ended: its bound holds however often one looks, and the margin of two
    means does not."""
    said, rest = race_text(results) or _of_the_finished(results), unfinished_text(results)
    return f"{said}. {rest}" if said and rest else said


def _of_the_finished(results: SweepResults) -> str:
    contest = results.contest
    leader = contest.leader
    if leader is None:
        return ""
    label = formats.one_line(leader.label)
    if len(contest.ranking) == 1:
        return f"{label} is the only one that finished, so there is nothing to compare it with"
    second = contest.ranking[1]
    assert leader.mean is not None and second.mean is not None
    leads = _leads(label, second.mean - leader.mean)
    if contest.noise is None:
        return (
            f"{leads} over {formats.one_line(second.label)}, but the seeds' noise is unknown; "
            f"train with {more_seeds(results)} to measure it"
        )
    leads += f" ({sigmas_text(contest.margins[second.label])})"
    noise = noise_text(contest.noise, seeds=len(leader.scores))
    close = contest.not_told_apart
    if not close:
        others = len(contest.ranking) - 1
        apart = "the only other one" if others == 1 else f"all {others} others"
        return f"{leads}, and is told apart from {apart} that finished ({noise})"
    return (
        f"{leads}: not told apart from {listed(close)} ({noise}); "
        f"more seeds tell, as with {more_seeds(results)}"
    )


def _leads(label: str, by: float) -> str:
    if by < 0:
        # It is ranked behind because its score is optimistic.
        return f"{label} is ranked first, though {-by:.4f} bpb worse than the next"
    return f"{label} leads by {by:.4f} bpb"


def noise_text(noise: Noise, *, seeds: int = 1) -> str:
    """`σ = 0.0170 bpb, from 20 runs of this sweep`, and how well that is known if it is not well.

    seeds: of the means that are compared.
    """
    sigma = f"σ = {noise.sigma:.4f} bpb"
    if seeds > 1:
        mean = noise.sigma / seeds**0.5
        sigma = f"σ = {mean:.4f} bpb for a mean of {seeds} seeds, {noise.sigma:.4f} for one"
    if noise.is_well_known:
        return f"{sigma}, from {noise.source}"
    low, high = noise.interval
    return (
        f"{sigma}, from only {noise.source}; it may be {low:.4f} to {high:.4f}, so only what is "
        f"{noise.limit:.1f} σ behind instead of {LIMIT:g} is told apart"
    )


def interval_text(results: SweepResults) -> str:
    """How far the second is behind the leader, as a range: `0.0011 bpb behind, −0.0119 to 0.0141
    within 2 σ`; empty without a second, or if the noise is unknown.

    It is the range within which differences are not told apart, laid around the measured one, so
    that it holds 0 exactly if the two are not told apart: 2 σ, or as much by Student's t where σ is
    from few seeds. No confidence interval of 95 %: a difference between two seeds moves by
    σ·√2, so 2 σ hold it in 84 of 100 cases.
    """
    contest = results.contest
    if len(contest.ranking) < 2:
        return ""
    second = contest.ranking[1]
    found = contest.margins.get(second.label)
    if found is None:
        return ""
    reach = found.limit * found.unit
    ends = " to ".join(_signed(found.by + way * reach) for way in (-1, 1))
    return (
        f"{formats.one_line(second.label)} is {_signed(found.by)} bpb behind, {ends} within "
        f"{found.limit:.2g} σ"
    )


def _signed(value: float) -> str:
    return f"{value:.4f}".replace("-", formats.MINUS)


def sigmas_text(margin: Margin) -> str:
    """The margin in standard deviations: `0.7 σ`."""
    return f"{margin.sigmas:.1f} σ".replace("-", formats.MINUS)


def against_baseline(results: SweepResults) -> str:
    """The leader's margin over the baseline by the noise: ` (0.7 σ, not told apart)`; empty if
    that is unknown."""
    return "" if results.baseline is None else behind_text(results, results.baseline)


def behind_text(results: SweepResults, design: Design) -> str:
    """How far a design is behind the leader, in parentheses; empty if the noise is unknown."""
    margin = results.contest.margins.get(design.label)
    if margin is None:
        return ""
    return f" ({sigmas_text(margin)}{'' if margin.told_apart else ', not told apart'})"


def difference_text(results: SweepResults, by: float, *, seeds: int) -> str:
    """What the noise says of a difference between two means over so many seeds each: `, 0.7 σ`;
    empty if it is unknown."""
    found = results.contest.by_noise(by, seeds=seeds)
    return "" if found is None else f", {sigmas_text(found)}"


def sigmas_behind(results: SweepResults, design: Design) -> str:
    """How far a design is behind the leader, for a column: `2.3 σ`, `≈ 0.7 σ` if it is not told
    apart from it, `leader`, or empty."""
    if design is results.leader:
        return "leader"
    margin = results.contest.margins.get(design.label)
    if margin is None:
        return ""
    return sigmas_text(margin) if margin.told_apart else f"{CLOSE} {sigmas_text(margin)}"


def mark_text(results: SweepResults) -> str:
    """What CLOSE means in a table; that the noise is unknown, if it is; empty if nothing is
    compared."""
    contest = results.contest
    if contest.leader is None or len(contest.ranking) < 2:
        return ""
    if contest.noise is None:
        return f"the seeds' noise is unknown; train with {more_seeds(results)} to measure it"
    noise = noise_text(contest.noise, seeds=len(contest.leader.scores))
    return f"{CLOSE} not told apart from the leader: {noise}"


def more_seeds(results: SweepResults) -> str:
    """The option that would tell more: `--seeds 0,1,2`."""
    seeds = list(results.sweep.seeds)
    while len(seeds) < max(_SEEDS, len(results.sweep.seeds) + 1):
        seeds.append(max(seeds) + 1)
    return f"--seeds {','.join(map(str, seeds))}"


def listed(designs: Sequence[Design]) -> str:
    """The first few of some designs, the baseline among them, and how many more."""
    first = [*designs[:_MOST_NAMES], *(one for one in designs[_MOST_NAMES:] if one.is_baseline)]
    names = [
        f"the baseline {formats.one_line(one.label)}"
        if one.is_baseline
        else formats.one_line(one.label)
        for one in first
    ]
    if more := len(designs) - len(first):
        names.append(f"{more} more")
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def standing_text(contest: Contest) -> str:
    """In a few words: `not told apart from 5 others`; empty without a leader or others."""
    others = len(contest.ranking) - 1
    if others < 1:
        return ""
    if contest.noise is None:
        return "the seeds' noise is unknown"
    if close := len(contest.not_told_apart):
        return f"not told apart from {formats.counted(close, 'other')}"
    return "told apart from all others that finished"
