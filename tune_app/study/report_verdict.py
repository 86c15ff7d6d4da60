"""What a study's report says of its finalists, and of the noise that the verdict rests on."""

from __future__ import annotations

from collections.abc import Iterator

from tune_app.formats import count, counted
from tune_app.statistics.best import POWER, p_text
from tune_app.study.found import Found
from tune_app.study.kill_rule import kill_rule_lines
from tune_app.study.report_phases import cell_text, interval_text
from tune_app.study.spec import Study
from tune_app.study.verdict import StudyVerdict


def verdict_facts(study: Study, told: StudyVerdict | None) -> Iterator[tuple[str, str]]:
    """The numbers that the page begins with, and what they are."""
    if told is None:
        return
    verdict = told.verdict
    yield f"{verdict.means[verdict.leader]:.4f}", f"bits per byte of the leader, {told.split} split"
    if verdict.runner_up is not None:
        yield f"{verdict.margin:.4f}", "bits per byte ahead of the next"
        yield interval_text(verdict.interval), f"its {1 - verdict.alpha:.0%} interval"
        yield (
            p_text(verdict.p).removeprefix("p ").removeprefix("= "),
            "p: chance of such a lead among equals",
        )
    if told.perplexity_margin is not None:
        yield f"{told.perplexity_margin:.2f}", "the same in the baseline's perplexity"
    if verdict.noise is not None:
        yield f"{verdict.noise.sigma:.4f}", "σ of a single run, bits per byte"
    if verdict.smallest_shown is not None:
        yield f"{verdict.smallest_shown:.4f}", "smallest lead that these data would have shown"
    yield f"{study.smallest_difference:g}", "smallest difference that matters"


def verdict_lines(study: Study, found: Found, told: StudyVerdict) -> Iterator[str]:
    """The finalists, as Markdown."""
    verdict = told.verdict
    yield "| design | bits per byte | behind | interval | p | baseline's perplexity |"
    yield "|---|---|---|---|---|---|"
    behind = {one.name: one for one in verdict.behind}
    for name, mean in verdict.means.items():
        shown = cell_text(name) + (" (baseline)" if name == told.baseline else "")
        perplexity = f"{told.perplexities[name]:.2f}"
        if name not in behind:
            yield f"| {shown} | {mean:.4f} | leader | | | {perplexity} |"
            continue
        one = behind[name]
        interval = interval_text(one.interval)
        mark = "" if one.told_apart else "≈ "
        yield (
            f"| {shown} | {mean:.4f} | {mark}{one.by:.4f} | {interval} | {p_text(one.p)} | "
            f"{perplexity} |"
        )
    yield ""
    yield (
        f"Means over {counted(len(verdict.seeds), 'seed')} that no earlier phase used, on the "
        f"{told.split} split, which each finalist was scored on once. ≈: not told apart from the "
        f"leader. Intervals hold together with {1 - verdict.alpha:.0%} confidence (Dunnett's "
        "distribution against the best, both sides); p is corrected by Holm's method."
    )
    yield ""
    if verdict.smallest_shown is not None and verdict.smallest_found is not None:
        yield (
            f"The smallest lead that these data would have called one is "
            f"{verdict.smallest_shown:.4f} bpb; a true lead of {verdict.smallest_found:.4f} bpb "
            f"would have been found in {POWER:.0%} of cases. What matters is set to "
            f"{study.smallest_difference:g} bpb."
        )
        yield ""
    if told.documents is not None:
        yield (
            f"Over seeds and parts of the dev sample, by a hierarchical bootstrap, the margin is "
            f"{interval_text(told.documents)} bpb. It stands beside the test above and does not "
            "replace it."
        )
        yield ""
    yield from _by_seed(told)


def _by_seed(told: StudyVerdict) -> Iterator[str]:
    """What every seed says, which a mean hides."""
    names = list(told.verdict.means)
    yield f"| seed | {' | '.join(map(cell_text, names))} |"
    yield f"|---|{'---|' * len(names)}"
    for seed in told.verdict.seeds:
        yield f"| {seed} | {' | '.join(f'{told.scores[name][seed]:.4f}' for name in names)} |"
    yield ""


def noise_lines(study: Study, found: Found) -> Iterator[str]:
    """σ, the learning rate that the study went on with, and the kill rule in σ, as Markdown."""
    for tokens in dict.fromkeys(run.tokens for run in found.runs):
        noise = found.noise(tokens)
        if noise is None:
            continue
        low, high = noise.interval
        yield (
            f"- σ of a single run of {count(tokens)} tokens: {noise.sigma:.4f} bpb "
            f"({low:.4f} to {high:.4f}), from {noise.source}, {noise.degrees_of_freedom} degrees "
            "of freedom"
        )
        curve = found.noise_curve(tokens)
        if curve:
            along = ", ".join(f"{count(at)} {one.sigma:.4f}" for at, one in curve)
            yield f"  - along the curve, on the dev sample: {along}"
    if found.settled is not None:
        yield f"- {found.settled.reason}"
    yield from (f"- {line}" for line in kill_rule_lines(found))
    yield ""
