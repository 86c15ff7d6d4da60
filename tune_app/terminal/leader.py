"""The lines that name the leader when a sweep ends, and how far it can be trusted."""

from __future__ import annotations

from rich.text import Text

from tune_app import formats
from tune_app.results import nuisance, verdict
from tune_app.results.designs import Design
from tune_app.results.summary import SweepResults
from tune_app.results.unfinished import unfinished


def leader_lines(results: SweepResults) -> list[Text]:
    """The design that leads, its score, and how far it is from the baseline."""
    leader = results.leader
    if leader is None:
        return [Text("no leader: no cell has finished", style="bold yellow")]
    seeds, how = len(leader.finished), nuisance.how_chosen(leader)
    trust = "one seed, not a verdict" if seeds == 1 else f"the mean of {seeds} seeds"
    score = f"{formats.bits_per_byte(leader.mean)} bits per byte"
    if leader.deviation is not None:
        score += f" (± {leader.deviation:.4f} over the seeds)"
    score += f", perplexity {formats.perplexity(leader.perplexity)} on the full dev split"
    return [
        Text.assemble(f"leader on {trust}: ", (formats.one_line(leader.label), "bold green")),
        *([Text(formats.one_line(how))] if how else []),
        Text(score),
        Text(_against_baseline(results, leader)),
        *_on_test(results, leader),
        *(Text(formats.one_line(text)) for text in nuisance.closing_sentences(results)),
    ]


def _on_test(results: SweepResults, leader: Design) -> list[Text]:
    """The leader's score on the test split, where it has one."""
    if leader.test_mean is None:
        return []
    score = f"{formats.bits_per_byte(leader.test_mean)} bits per byte on the test split"
    gap = None if leader.is_baseline else results.test_gap(leader)
    against = "" if gap is None else f", {formats.gap(gap)} against the baseline there"
    return [Text(f"{score}, which decided nothing{against}")]


def _against_baseline(results: SweepResults, leader: Design) -> str:
    if leader.is_baseline:
        others = [design for design in results.ranking if design is not leader]
        if not others:
            return "it is the baseline, and nothing else has finished"
        label, gap = formats.one_line(others[0].label), results.gap(others[0])
        return f"it is the baseline; next is {label}, {formats.gap(gap)} against it"
    gap = results.gap(leader)
    if results.baseline is None or results.baseline.mean is None:
        return "the baseline has not finished"
    if gap is None:
        return "no seed counts for both the leader and the baseline"
    return (
        f"{formats.gap(gap)} against the baseline {formats.one_line(results.baseline.label)}"
        f"{verdict.against_baseline(results)}"
    )


def verdict_line(results: SweepResults) -> list[Text]:
    """The last line of a sweep: by how much the leader leads, and what may be as good; none without
    a leader."""
    said = verdict.verdict(results)
    if not said:
        return []
    left = unfinished(results)
    sure = results.contest.noise is not None and not results.contest.not_told_apart
    sure = sure and (left is None or not left.close)
    return [Text(said, style="" if sure else "yellow")]
