"""Messages about events of a cell: one word that names the event, and a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from tune_app import formats
from tune_app.journal.records import (
    Action,
    CellRecord,
    Decision,
    Failure,
    FailureClass,
    Observation,
    Status,
)
from tune_app.stopping.all_rules import title_of
from tune_app.terminal.progress import SweepProgress

STATUS_STYLES = {
    Status.FINISHED: "green",
    Status.STOPPED: "yellow",
    Status.PAUSED: "yellow",
    Status.FAILED: "red",
    Status.INFEASIBLE: "magenta",
    Status.RUNNING: "cyan",
    Status.INTERRUPTED: "yellow",
    Status.PENDING: "dim",
    Status.LEFT_OUT: "dim",
}

_KINDS = {
    FailureClass.CODE: "error in the program",
    FailureClass.HOST: "lost host or process",
    FailureClass.NETWORK: "lost connection",
    FailureClass.STORAGE: "failure of the store or a disk",
    FailureClass.NUMBERS: "NaN or infinite loss",
    FailureClass.MEMORY: "out of memory",
    FailureClass.COMPILER: "failed compilation",
}
_RETRIED = "retried"
_WHAT_WIDTH = max(len(status.value) for status in Status if status.ended)


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A message about an event."""

    what: Text
    """One word."""
    text: Text
    """The cell and the reason, without line breaks."""


def below_each_other(sentences: Iterable[Sentence]) -> Table:
    """Sentences with their words in one column; long texts wrap in the second column."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_WHAT_WIDTH)
    grid.add_column(overflow="fold")
    for sentence in sentences:
        grid.add_row(sentence.what, sentence.text)
    return grid


def decided(progress: SweepProgress, observation: Observation, decision: Decision) -> Sentence:
    """A decision on a cell: at which tokens, by which rule, and why."""
    if decision.action is Action.FINISH:
        return _finished(progress, observation)
    tokens = formats.progress(observation.baseline_tokens, progress.sweep.tokens)
    reason = formats.one_line(decision.reason)
    text = f"at {tokens} tokens by {title_of(decision.rule).by}: {reason}"
    label = progress.cell(decision.cell).label
    if decision.action in (Action.STOP, Action.PAUSE):
        stopped = decision.action is Action.STOP
        return _of_cell(label, Status.STOPPED if stopped else Status.PAUSED, text)
    return Sentence(
        what=Text("continues", style="dim"), text=Text(f"{formats.one_line(label)}  {text}", "dim")
    )


def failed(progress: SweepProgress, failure: Failure) -> Sentence:
    """A failure: what went wrong, where, its cause if known, and what was done about it."""
    label, text = progress.cell(failure.cell).label, _failure(progress, failure)
    return _of_cell(label, Status.FAILED, text) if failure.ended else _retried(label, text)


def training(progress: SweepProgress) -> Sentence:
    """The progress of the running cells."""
    cells = progress.with_status(Status.RUNNING)
    told = (f"{formats.one_line(cell.label)} {progress.share(cell):.0%}" for cell in cells)
    return Sentence(what=Text("training", style="cyan"), text=Text(", ".join(told)))


def ending(progress: SweepProgress, reason: str) -> Sentence:
    """What happens once a signal has asked the sweep to end."""
    running = len(progress.with_status(Status.RUNNING))
    cells = f"{formats.counted(running, 'cell')} in training, then " if running else ""
    return Sentence(
        what=Text("saving", style="yellow"),
        text=Text(f"{cells}the results … ({reason}; a second signal ends the sweep at once)"),
    )


def setbacks(progress: SweepProgress, failures: Sequence[Failure]) -> list[Sentence]:
    """One sentence per cell that failed and was restarted, in the order of the cells.

    failures: all failures of the sweep, in chronological order.
    """
    told = []
    for cell in progress.cells:
        own = [
            failure
            for failure in failures
            # A failed compilation only makes the attempt slower.
            if failure.cell == cell.key
            and not failure.ended
            and failure.kind is not FailureClass.COMPILER
        ]
        if own:
            text = _failure(progress, own[-1])
            if len(own) > 1:
                text = f"{len(own)} times ({by_class(own)}), the latest: {text}"
            told.append(_retried(cell.label, text))
    return told


def by_class(failures: Iterable[Failure]) -> str:
    """Number of failures by class: `3 × lost host or process, 1 × NaN or infinite loss`."""
    number = Counter(failure.kind for failure in failures)
    if number.total() == 1:
        return _in_words(next(iter(number)))
    return formats.listed((number[kind], f"× {_in_words(kind)}") for kind in FailureClass)


def _in_words(kind: FailureClass) -> str:
    return _KINDS.get(kind, f"{kind.value} failure")


def _failure(progress: SweepProgress, failure: Failure) -> str:
    tokens = progress.baseline_tokens(progress.cell(failure.cell), failure.tokens)
    text = f"{failure.kind.value} failure"
    if tokens:
        text += f" at {formats.progress(tokens, progress.sweep.tokens)} tokens"
    if failure.host:
        text += f" on {formats.one_line(failure.host)}"
    text += f": {formats.one_line(failure.reason)}"
    if failure.cause:
        text += f" ({formats.one_line(failure.cause)})"
    # The sentence of a retried cell already starts with this word.
    remedy = "" if failure.remedy == _RETRIED else formats.one_line(failure.remedy)
    return f"{text}; {remedy}" if remedy else text


def _retried(label: str, text: str) -> Sentence:
    return Sentence(
        what=Text(_RETRIED, style="yellow"),
        text=Text.assemble((formats.one_line(label), "bold"), f"  {text}"),
    )


def _finished(progress: SweepProgress, observation: Observation) -> Sentence:
    full = observation.full_bits_per_byte
    score, perplexity, split = (
        (observation.bits_per_byte, observation.perplexity, "dev")
        if full is None
        else (full, observation.full_perplexity, "full dev")
    )
    return _of_cell(
        progress.cell(observation.cell).label,
        Status.FINISHED,
        f"{formats.bits_per_byte(score)} bits per byte ({split}), "
        f"ppl {formats.perplexity(perplexity)}, in "
        f"{formats.duration(sum(observation.seconds.values()))}",
    )


def infeasible(label: str, reason: str) -> Sentence:
    return _of_cell(label, Status.INFEASIBLE, formats.one_line(reason))


def _of_cell(label: str, status: Status, text: str) -> Sentence:
    return Sentence(
        what=Text(status.value, style=STATUS_STYLES[status]),
        text=Text.assemble((formats.one_line(label), "bold"), f"  {text}"),
    )


def gap_text(progress: SweepProgress, cell: CellRecord, gap: float | None) -> Text:
    """The gap to the baseline, coloured by its sign."""
    if progress.is_yardstick(cell):
        return Text("baseline", style="dim")
    style = "" if gap is None else "green" if gap < 0 else "red"
    return Text(formats.gap(gap), style=style)
