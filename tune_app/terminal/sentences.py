"""What is said of a cell when something happens to it: one line, as text with styles."""

from __future__ import annotations

from rich.text import Text

from tune_app.records import Action, CellRecord, Decision, Failure, Observation, Status
from tune_app.terminal import formats
from tune_app.terminal.progress import SweepProgress

STATUS_STYLES = {
    Status.FINISHED: "green",
    Status.STOPPED: "yellow",
    Status.FAILED: "red",
    Status.INFEASIBLE: "magenta",
    Status.RUNNING: "cyan",
    Status.PENDING: "dim",
}


def started(progress: SweepProgress) -> Text:
    """What the sweep is, before its first trial."""
    sweep = progress.sweep
    baseline = formats.one_line(progress.cell(sweep.baseline).label)
    return Text.assemble(
        (formats.one_line(sweep.name), "bold"),
        f": {progress.counts()}; {formats.count(sweep.tokens)} tokens each; baseline {baseline}",
    )


def decided(progress: SweepProgress, observation: Observation, decision: Decision) -> Text:
    """A cell that was stopped or has finished: where, by which rule, and why."""
    if decision.action is Action.FINISH:
        return finished(progress, observation)
    tokens = formats.progress(observation.reference_tokens, progress.sweep.tokens)
    return Text.assemble(
        ("stopped  ", STATUS_STYLES[Status.STOPPED]),
        _label(progress, decision.cell),
        f" at {tokens} tokens by {decision.rule.value}: {formats.one_line(decision.reason)}",
    )


def finished(progress: SweepProgress, observation: Observation) -> Text:
    whole = observation.whole_bits_per_byte
    score, perplexity, split = (
        (observation.bits_per_byte, observation.perplexity, "dev")
        if whole is None
        else (whole, observation.whole_perplexity, "whole dev")
    )
    return Text.assemble(
        ("finished ", STATUS_STYLES[Status.FINISHED]),
        _label(progress, observation.cell),
        f" {formats.bits_per_byte(score)} bits per byte, perplexity "
        f"{formats.perplexity(perplexity)} ({split}) in "
        f"{formats.duration(sum(observation.seconds.values()))}",
    )


def failed(progress: SweepProgress, failure: Failure) -> Text:
    return Text.assemble(
        ("failed   ", STATUS_STYLES[Status.FAILED]),
        _label(progress, failure.cell),
        f" {formats.one_line(failure.reason)}",
    )


def gap_text(progress: SweepProgress, cell: CellRecord) -> Text:
    """The gap to the baseline, coloured by its sign."""
    if progress.is_baseline(cell):
        return Text("baseline", style="dim")
    gap = progress.gap(cell)
    style = "" if gap is None else "green" if gap < 0 else "red"
    return Text(formats.gap(gap), style=style)


def _label(progress: SweepProgress, key: str) -> Text:
    return Text(formats.one_line(progress.cell(key).label), style="bold")
