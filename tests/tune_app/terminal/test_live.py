"""The views of a running sweep, fed with the records of one and read as text."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.tune_app.journals import EXPANSIONS, FATES, SHARES, make_journal
from tests.tune_app.observations import changed
from tune_app.dollars.limit import Spending
from tune_app.journal.journal import Journal
from tune_app.journal.records import (
    Action,
    Decision,
    Failure,
    FailureClass,
    Observation,
    Status,
)
from tune_app.terminal.live import LiveView, PlainView, view_for

WAITING = {(share, expansion): "pending" for share in SHARES for expansion in EXPANSIONS} | {
    values: fate for values, fate in FATES.items() if fate == "infeasible"
}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Journal]:
    """A sweep that has not begun."""
    with make_journal(tmp_path / "quick" / "waiting.sqlite3", fates=WAITING) as journal:
        yield journal


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Journal]:
    """The same sweep when it is over."""
    with make_journal(tmp_path / "quick" / "journal.sqlite3") as journal:
        yield journal


def test_a_terminal_gets_the_live_view_and_a_file_gets_lines() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, force_interactive=True)
    assert isinstance(view_for(terminal), LiveView)
    assert isinstance(view_for(Console(file=io.StringIO())), PlainView)


def test_plain_view_writes_a_line_for_each_end_and_nothing_else(
    waiting: Journal, played: Journal
) -> None:
    # Even a console that claims to be a terminal gets plain text from this view.
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=60)
    view = PlainView(console, clock=Clock())
    view.sweep_started(waiting)
    _feed(view, played)
    text = output.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    # Every cell but the infeasible one.
    assert len(lines) == 11
    assert f"stopped {name(played, 0.25, 3.0)}  at 38k/150k tokens by stopping ASHA: " in text
    assert f"stopped {name(played, 0.45, 2.0)}  at 56k/150k tokens by divergence: dev bits" in text
    assert re.search(r"finished 35% × 2\.66  2\.\d{4} bits per byte \(full dev\), ppl", text)
    assert f"failed {name(played, 0.45, 3.0)}  code failure at 19k/150k tokens: Runtime" in text
    assert lines[-1].startswith("[11/11] ")
    assert re.search(r"\[\d+/11, about [^]]+ left\] stopped", text)


def test_plain_view_tells_once_a_minute_how_far_the_cells_are(waiting: Journal) -> None:
    output, now = io.StringIO(), [0.0]
    view = PlainView(Console(file=output), clock=lambda: now[0])
    view.sweep_started(waiting)
    first, second = waiting.cells()[:2]
    view.cell_started(first)
    view.cell_started(second)
    for second_of_it in range(0, 130, 10):
        now[0] = float(second_of_it)
        view.progressed(first, 300 * second_of_it)
    lines = output.getvalue().splitlines()
    assert len(lines) == 2
    assert f"training {first.label} 12%, {second.label} 0%" in lines[0]
    assert f"training {first.label} 24%, {second.label} 0%" in lines[1]


def test_live_view_prints_each_end_with_its_reason(waiting: Journal, played: Journal) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120, height=40, color_system=None)
    view = LiveView(console, clock=Clock())
    view.sweep_started(waiting)
    _feed(view, played)
    view.sweep_ended()
    text = output.getvalue()
    for what in (
        f"stopped    {name(played, 0.25, 3.0)}  at 38k/150k tokens by stopping ASHA: ",
        f"stopped    {name(played, 0.35, 4.0)}  at 112k/150k tokens by the kill rule: perplexity",
        "finished   35% × 2.66  2.",
        f"failed     {name(played, 0.45, 3.0)}  code failure at 19k/150k tokens: "
        "RuntimeError: DataLoader <worker> ran out",
    ):
        assert what in text


def test_live_region_shows_running_cells_and_the_best(waiting: Journal, played: Journal) -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    view = LiveView(console, clock=clock)
    view.sweep_started(waiting)
    base, other, third = (cell.key for cell in played.cells()[:3])
    _feed(view, played, only=[base])
    view.cell_started(replace(waiting.cell(other), status=Status.RUNNING))
    view.observed(played.observations(other)[3], None)
    view.cell_started(replace(waiting.cell(third), status=Status.RUNNING))
    clock.now += 65
    text = _text(view, width=80)
    assert "$" not in text
    view.paid(Spending(spent=0.42, per_hour=1.0, limit=5.0))
    priced = _text(view, width=80)
    view.paid(Spending(spent=0.42, per_hour=1.0, head=0.01))
    with_head = _text(view, width=80)
    view.sweep_ended()

    assert re.search(r"left, \$0\.42 so far, about \$0\.\d\d in all of \$5\.00$", priced, re.M)
    assert re.search(r"left, \$0\.42 so far \(\$0\.010 for the head\), about", with_head)
    assert "quick  1m 05s, about " in text
    assert "12 cells: 1 finished, 1 infeasible, 2 running, 8 pending" in text
    row = next(line for line in text.splitlines() if line.startswith(name(played, 0.25, 2.0)))
    expected = played.observations(other)[3]
    baseline = played.observations(base)[3]
    assert "75k/150k" in row
    assert "━━━━━·····" in row
    assert f"{expected.bits_per_byte:.4f}" in row
    gap = expected.bits_per_byte - baseline.bits_per_byte
    assert f"{abs(gap):.4f}" in row
    assert re.search(r"^25% × 2\.66 +starting +·{10} +– +– +– +– +\d+s$", text, re.MULTILINE)
    best = text[text.index("\nleading") :]
    assert re.search(r"^35% × 2\.66 +2\.\d{4} .*baseline$", best, re.MULTILINE)


def test_tokens_move_between_two_evaluations(waiting: Journal) -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    view = LiveView(console, clock=clock)
    view.sweep_started(waiting)
    cell = waiting.cells()[0]
    view.cell_started(cell)
    clock.now += 5
    view.progressed(cell, 1_000)
    clock.now += 10
    view.progressed(cell, 21_000)
    text = _text(view, width=80)
    view.sweep_ended()
    # 2,000 tokens a second before any evaluation, so 129,000 more take 64.5 s.
    assert re.search(r"^35% × 2\.66 +21k/150k .* 2\.0k +1m 04s$", text, re.MULTILINE)
    # Ten more cells, each with five seconds before its first token: 64.5 s + 10 × 80 s.
    assert "about 14m 24s left" in text


def test_a_cell_whose_model_is_being_stored_is_no_second_one_at_once(waiting: Journal) -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    view = LiveView(console, clock=clock)
    view.sweep_started(waiting)
    stored, following, *_ = [one for one in waiting.cells() if one.status is Status.PENDING]
    view.cell_started(stored)
    clock.now += 5
    view.progressed(stored, 1_000)
    clock.now += 74.5
    view.progressed(stored, 150_000)
    view.cell_started(following)
    text = _text(view, width=80)
    view.sweep_ended()
    # It and nine more, each with 5 s before its first token and 75 s for 150,000.
    assert "about 13m 20s left" in text


def test_a_decision_to_go_on_is_shown_live_and_left_out_of_files(
    waiting: Journal, played: Journal
) -> None:
    cell = waiting.cells()[1]
    observation = played.observations(cell.key)[1]
    decision = Decision(
        cell=cell.key,
        tokens=observation.tokens,
        action=Action.CONTINUE,
        rule="asha-stop",
        reason="rung 37,500: the first to arrive",
    )
    text = {}
    for kind in (LiveView, PlainView):
        output = io.StringIO()
        view = kind(Console(file=output, force_terminal=True, width=120, color_system=None))
        view.sweep_started(waiting)
        view.cell_started(cell)
        view.observed(observation, decision)
        view.sweep_ended()
        text[kind] = output.getvalue()
    assert (
        f"continues  {cell.label}  at 38k/150k tokens by stopping ASHA: rung 37,500: the first to "
        "arrive" in text[LiveView]
    )
    assert text[PlainView] == ""


@pytest.mark.parametrize("width", [20, 40, 79, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(
    waiting: Journal, played: Journal, width: int
) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=24)
    view = LiveView(console, clock=Clock())
    view.sweep_started(waiting)
    keys = [cell.key for cell in played.cells()]
    _feed(view, played, only=keys[:2])
    for key in keys[2:5]:
        view.cell_started(waiting.cell(key))
        point = played.observations(key)[0]
        view.observed(changed(point, bits_per_byte=math.nan, perplexity=math.inf), None)
    text = _text(view, width=width)
    view.sweep_ended()
    assert max(len(line) for line in text.splitlines()) <= width
    # Whole columns go; nothing that is shown is shortened.
    assert "…" not in text


def test_more_running_cells_than_lines_are_counted(waiting: Journal) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=16)
    view = LiveView(console, clock=Clock())
    view.sweep_started(waiting)
    for cell in waiting.cells()[:11]:
        view.cell_started(cell)
    text = _text(view, width=80)
    view.sweep_ended()
    assert "and 7 more running" in text
    assert len(text.splitlines()) < 16


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_shown_as_such(
    waiting: Journal, played: Journal, value: float
) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=24)
    view = LiveView(console, clock=Clock())
    view.sweep_started(waiting)
    cell = waiting.cells()[1]
    view.cell_started(cell)
    broken = changed(
        played.observations(cell.key)[0],
        bits_per_byte=value,
        perplexity=value,
        tokens_per_second=value,
    )
    view.observed(broken, None)
    text = _text(view, width=120)
    view.sweep_ended()
    assert re.search(r"NaN|inf", text)


def test_a_reason_is_shown_as_it_is_written(waiting: Journal) -> None:
    output = io.StringIO()
    view = PlainView(Console(file=output), clock=Clock())
    view.sweep_started(waiting)
    reason = "KeyError: '[bold]'\n\x1b[31mand more\x1b[0m"
    cell = waiting.cells()[0]
    view.cell_started(cell)
    view.cell_failed(
        Failure(cell=cell.key, kind=FailureClass.CODE, reason=reason, traceback="", ended=True)
    )
    assert output.getvalue().splitlines()[-1].endswith("KeyError: '[bold]' and more")


@pytest.mark.parametrize("kind", [LiveView, PlainView])
def test_a_lost_host_is_told_with_its_remedy_and_ends_no_cell(
    waiting: Journal, kind: type[LiveView] | type[PlainView]
) -> None:
    output = io.StringIO()
    view = kind(Console(file=output, width=200), clock=Clock())
    view.sweep_started(waiting)
    cell = waiting.cells()[0]
    view.cell_started(cell)
    view.cell_failed(
        Failure(
            cell=cell.key,
            kind=FailureClass.MEMORY,
            reason="CUDA out of memory",
            traceback="Traceback …",
            ended=False,
            host="worker-3",
            tokens=38_000,
            cause="the cgroup counted an OOM kill",
            remedy="retried with micro-batches of 4",
        )
    )
    view.sweep_ended()
    told = (
        f"{cell.label}  memory failure at 38k/150k tokens on worker-3: CUDA out of memory "
        "(the cgroup counted an OOM kill); retried with micro-batches of 4"
    )
    assert re.search(f"retried +{re.escape(told)}", output.getvalue())
    assert view.progress.cell(cell.key).status is Status.RUNNING
    assert view.progress.over()[0] == sum(
        not one.status.waits for one in view.progress.cells if one.config is not None
    )


@pytest.mark.parametrize("kind", [LiveView, PlainView])
def test_a_sweep_that_is_to_end_says_at_once_what_takes_a_while(
    waiting: Journal, kind: type[LiveView] | type[PlainView]
) -> None:
    output = io.StringIO()
    view = kind(Console(file=output, width=200), clock=Clock())
    view.sweep_started(waiting)
    view.cell_started(waiting.cells()[0])
    view.ending("interrupted")
    view.sweep_ended()
    told = r"saving +1 cell in training, then the results … \(interrupted; a second signal ends"
    assert re.search(told, output.getvalue())


def name(journal: Journal, share: float, expansion: float) -> str:
    """The label of a cell by its values."""
    (label,) = (
        cell.label
        for cell in journal.cells()
        if (cell.values["embedding_ratio"], cell.values["glu_expansion"]) == (share, expansion)
    )
    return label


def _feed(view: LiveView | PlainView, played: Journal, only: list[str] | None = None) -> None:
    """Tells a view what the journal holds, in the order in which it arrived."""
    failures = {
        failure.cell: failure
        for failure in played.failures()
        if failure.kind is not FailureClass.NUMBERS
    }
    started = set()
    last: dict[str, Observation] = {
        observation.cell: observation for observation in played.observations()
    }
    for observation in played.observations():
        key = observation.cell
        if only is not None and key not in only:
            continue
        if key not in started:
            started.add(key)
            view.cell_started(replace(played.cell(key), status=Status.RUNNING))
        view.observed(observation, played.decision(key, observation.tokens))
        if key in failures and observation.tokens == last[key].tokens:
            view.cell_failed(failures[key])


def _text(view: LiveView, *, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(view.render())
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
