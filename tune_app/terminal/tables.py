"""What the commands print: the plan of a sweep, its status, and its result.

Pure: takes values or a journal, returns something that rich can print.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tune_app import formats
from tune_app.journal.journal import Journal
from tune_app.journal.reached import reached
from tune_app.journal.records import Action, Attempt, CellRecord, Failure, Heartbeat, Status
from tune_app.plan.rows import PlanRow, PlanSizes
from tune_app.results import verdict
from tune_app.results.amendments import amendment_text
from tune_app.results.mirrors.optuna_url import optuna_file, optuna_url
from tune_app.results.mirrors.wandb_runs import offline_runs, sync_command
from tune_app.results.sample_check import sample_check, undecided
from tune_app.results.summary import SweepResults, summarise
from tune_app.terminal import sentences
from tune_app.terminal.columns import Column, FittingTable
from tune_app.terminal.leader import leader_lines, verdict_line
from tune_app.terminal.progress import SweepProgress
from tune_app.terminal.sentences import STATUS_STYLES, Sentence


def plan_table(rows: Sequence[PlanRow]) -> RenderableType:
    """The plan: asked and solved sizes of each cell, then the infeasible cells."""
    feasible = [row for row in rows if row.sizes]
    tokens = sorted({row.tokens for row in rows})
    each = " to ".join(formats.count(number) for number in {tokens[0]: 0, tokens[-1]: 0})
    text = f"{len(feasible)} of {len(rows)} cells are feasible; {each} tokens each"
    if any(row.expected_seconds is not None for row in rows):
        seconds = sum(row.expected_seconds or 0.0 for row in feasible)
        text += f"; {formats.duration(seconds)} of trial time if every cell is trained to the end"
    parts: list[RenderableType] = [
        FittingTable(columns=_plan_columns(rows), name_left_out=True),
        Text(),
        Text(text),
    ]
    refusals = [
        sentences.infeasible(
            row.label, row.infeasible + (f"; nearest: {row.nearest}" if row.nearest else "")
        )
        for row in rows
        if row.infeasible
    ]
    if refusals:
        parts.append(sentences.below_each_other(refusals))
    return Group(*parts)


def _plan_columns(rows: Sequence[PlanRow]) -> list[Column]:
    def solved(header: str, rank: int, text: Callable[[PlanSizes], object]) -> Column:
        texts = [str(text(row.sizes)) if row.sizes else formats.UNKNOWN for row in rows]
        return Column.numbers(header, texts, rank=rank)

    def asked(
        header: str,
        rank: int,
        wish: Callable[[PlanRow], str | None],
        text: Callable[[PlanSizes], object],
    ) -> Column:
        texts = [
            f"{wish(row) or 'free'}→{text(row.sizes) if row.sizes else formats.UNKNOWN}"
            for row in rows
        ]
        return Column.numbers(f"{header}\nasked\n→solved", texts, rank=rank)

    def size(name: str, rank: int, header: str = "") -> Column:
        """A size, next to the asked value if any cell pins it."""

        def wish(row: PlanRow) -> str | None:
            pin = getattr(row, f"asked_{name}")
            return None if pin is None else str(pin)

        def text(sizes: PlanSizes) -> object:
            solved_size: int | None = getattr(sizes, name)
            return "" if solved_size is None else solved_size

        if any(wish(row) for row in rows):
            return asked(header or name, rank, wish, text)
        return solved(header or name, rank, text)

    ranks = [size("embedding_rank", 2, header="rank")] if _have_rank(rows) else []
    columns = [
        Column.names("cell", [Text(formats.one_line(row.label), _plan_style(row)) for row in rows]),
        asked(
            "embedding\nshare %",
            1,
            lambda row: None if row.asked_share is None else f"{100 * row.asked_share:.4g}",
            lambda sizes: f"{100 * sizes.share:.1f}",
        ),
        *ranks,
        asked(
            "expansion",
            2,
            lambda row: None if row.asked_expansion is None else f"{row.asked_expansion:.4g}",
            lambda sizes: f"{sizes.expansion:.2f}",
        ),
        size("d_model", 4),
        size("n_layers", 5),
        solved("heads\n×dim", 6, lambda sizes: f"{sizes.heads}×{sizes.head_dim}"),
        size("d_ff", 7),
        solved("params", 3, lambda sizes: formats.parameters(sizes.parameters)),
    ]
    if any(row.sizes and row.sizes.active not in {None, row.sizes.parameters} for row in rows):
        columns.append(solved("active\nparams", 3, _active))
    if len({row.tokens for row in rows}) > 1:
        columns.append(
            Column.numbers("tokens", [formats.count(row.tokens) for row in rows], rank=3)
        )
    optional = [
        ("lr ×", 10, [_factor(row.hidden_rate) for row in rows]),
        ("time", 8, [formats.duration(row.expected_seconds) for row in rows]),
        ("memory", 9, [formats.size(row.memory_bytes) for row in rows]),
    ]
    columns += [
        Column.numbers(header, texts, rank=rank)
        for header, rank, texts in optional
        if any(text != formats.UNKNOWN for text in texts)
    ]
    return columns


def _active(sizes: PlanSizes) -> str:
    return formats.UNKNOWN if sizes.active is None else formats.parameters(sizes.active)


def _have_rank(rows: Sequence[PlanRow]) -> bool:
    return any(row.sizes is not None and row.sizes.embedding_rank is not None for row in rows)


def _plan_style(row: PlanRow) -> str:
    return STATUS_STYLES[Status.INFEASIBLE] if row.infeasible else ""


def _factor(value: float | None) -> str:
    return formats.UNKNOWN if value is None else f"{value:.2f}"


_BASELINE_LOST = (
    "the baseline diverged, so start another sweep with other settings under another --name"
)


def status_table(journal: Journal, *, clock: Callable[[], float] = time.time) -> RenderableType:
    """Every cell of a sweep, and the reason for each that ended without finishing.

    clock: seconds since the epoch, for the age of heartbeats.
    """
    with journal.one_moment():
        return _status_table(journal, now=clock())


def _status_table(journal: Journal, *, now: float) -> RenderableType:
    progress, results = SweepProgress.read(journal), summarise(journal)
    cells = progress.cells
    for key, so_far in reached(journal).items():
        if progress.cell(key).status in (Status.RUNNING, Status.INTERRUPTED):
            progress.reached(progress.cell(key), so_far.tokens)
    last = [progress.last(cell) for cell in cells]
    table = FittingTable(
        columns=[
            Column.names("cell", [cell.label for cell in cells]),
            Column(
                header="status",
                cells=[Text(cell.status.value, STATUS_STYLES[cell.status]) for cell in cells],
                rank=1,
                right=False,
            ),
            Column.numbers(
                "tokens",
                [
                    formats.progress(progress.tokens(cell), progress.sweep.tokens)
                    if progress.tokens(cell)
                    else formats.UNKNOWN
                    for cell in cells
                ],
                rank=3,
            ),
            *_alive(progress.with_status(Status.RUNNING), cells, journal.heartbeats(), now=now),
            Column.numbers(
                "dev bpb",
                [formats.bits_per_byte(point.bits_per_byte if point else None) for point in last],
                rank=2,
            ),
            Column.numbers(
                "ppl",
                [formats.perplexity(point.perplexity if point else None) for point in last],
                rank=7,
            ),
            Column.numbers(
                "gap bpb",
                [sentences.gap_text(progress, cell, progress.gap(cell)) for cell in cells],
                rank=4,
            ),
            Column.numbers(
                "full dev bpb",
                [
                    formats.bits_per_byte(point.full_bits_per_byte if point else None)
                    for point in last
                ],
                rank=6,
            ),
            *_behind(results, cells),
            *_attempts(cells, journal.attempts()),
        ],
        name_left_out=True,
    )
    head = Text.assemble(
        (formats.one_line(progress.sweep.name), "bold"),
        f"  {f'{progress.round_text}, ' * bool(progress.round_text)}"
        f"{len(cells)} cells: {progress.counts()}",
    )
    named = [Text(f"cells are named by {title}", "dim")] if (title := progress.title) else []
    parts: list[RenderableType] = [head, *named, *_history(journal, progress), Text(), table]
    if noise := verdict.mark_text(results):
        parts.append(Text(noise, style="dim"))
    failures = journal.failures()
    if told := _ends(journal, progress, failures) + sentences.setbacks(progress, failures):
        parts += [Text(), sentences.below_each_other(told)]
    return Group(*parts)


def _history(journal: Journal, progress: SweepProgress) -> list[Text]:
    """Its former name, what was changed in it, and how to continue it if no process runs it."""
    sweep = progress.sweep
    lines = [
        Text(f"changed {formats.one_line(amendment_text(one, tokens=sweep.tokens))}", style="dim")
        for one in journal.amendments()
    ]
    if sweep.begun_as != sweep.name:
        lines.insert(0, Text(f"begun as {formats.one_line(sweep.begun_as)}", style="dim"))
    ended = all(cell.status.ended for cell in progress.cells) and not progress.to_come
    if journal.is_driven or ended:
        return lines
    if progress.lost_baseline:
        lines.append(Text(f"no process runs it; {_BASELINE_LOST}", style="yellow"))
    else:
        command = formats.one_line(sweep.command)
        if sweep.begun_as != sweep.name:
            command += f" (with --name {formats.one_line(sweep.name)})"
        ending = journal.ending()
        why = "" if ending is None or not ending.reason else f" ({formats.one_line(str(ending))})"
        told = f"no process runs it{why}; continue it with: {command}"
        lines.append(Text(told, style="yellow"))
    return lines


def _alive(
    running: Sequence[CellRecord],
    cells: Sequence[CellRecord],
    heartbeats: Mapping[str, Heartbeat],
    *,
    now: float,
) -> list[Column]:
    """Age of each running cell's last heartbeat; no column if there is none."""
    alive = {cell.key for cell in running} & heartbeats.keys()
    if not alive:
        return []
    ages = [
        f"{formats.duration(now - heartbeats[cell.key].at)} ago" if cell.key in alive else ""
        for cell in cells
    ]
    return [Column.numbers("alive", ages, rank=5)]


def _behind(results: SweepResults, cells: Sequence[CellRecord]) -> list[Column]:
    """How far the design of each cell is behind the leader; no column if nothing says how far."""
    if not results.contest.margins:
        return []
    texts = {
        result.cell.key: verdict.sigmas_behind(results, design)
        for design in results.ranking
        for result in design.finished
    }
    return [Column.numbers("behind\nleader", [texts.get(cell.key, "") for cell in cells], rank=5)]


def _attempts(cells: Sequence[CellRecord], attempts: Sequence[Attempt]) -> list[Column]:
    """How often each cell was started and resumed; no columns if all were started once."""
    if all(cell.attempts <= 1 for cell in cells):
        return []
    resumes = Counter(attempt.cell for attempt in attempts if attempt.resumed_from)
    return [
        Column.numbers("attempts", [str(cell.attempts) for cell in cells], rank=8),
        Column.numbers("resumes", [str(resumes[cell.key]) for cell in cells], rank=9),
    ]


def _ends(journal: Journal, progress: SweepProgress, failures: Sequence[Failure]) -> list[Sentence]:
    """The reason for each cell that ended without finishing, in the order of the table."""
    stops = {
        decision.cell: decision
        for decision in journal.decisions()
        if decision.action in (Action.STOP, Action.PAUSE)
    }
    ended_by = {failure.cell: failure for failure in failures if failure.ended}
    ends = []
    for cell in progress.cells:
        last = progress.last(cell)
        early = cell.status in (Status.STOPPED, Status.PAUSED)
        if early and last is not None and cell.key in stops:
            ends.append(sentences.decided(progress, last, stops[cell.key]))
        elif cell.status is Status.FAILED:
            ends.append(sentences.failed(progress, ended_by[cell.key]))
        elif cell.status is Status.INFEASIBLE:
            ends.append(sentences.infeasible(cell.label, cell.reason))
    return ends


def summary(journal: Journal, folder: Path) -> RenderableType:
    """The result of a sweep, what stopping saved, and where to look next.

    folder: folder of the sweep's results; only existing files are listed.
    """
    with journal.one_moment():
        progress, results = SweepProgress.read(journal), summarise(journal)
    tokens, seconds = progress.spent()
    saved_tokens, saved_seconds = progress.saved_by_stopping()
    spent = f"trained {formats.count(tokens)} tokens in {formats.duration(seconds)} of trial time"
    if saved_tokens:
        spent += (
            f"; stopping saved {formats.count(saved_tokens)} tokens, "
            f"about {formats.duration(saved_seconds)}"
        )
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("cells", f"{len(progress.cells)}: {progress.counts()}")
    facts.add_row("cost", spent)
    if small := undecided(results):
        facts.add_row("sample", Text(small[0]))
    if (check := sample_check(results)) is not None:
        facts.add_row(
            "sample",
            f"ranks as the whole split with a Spearman correlation of {check.spearman:.2f}; "
            f"error {check.gap_error:.4f}",
        )
    if results.failures:
        facts.add_row("failures", _failures(results.failures))
    for name, text in _places(folder):
        facts.add_row(name, Text(text))
    to_go = sum(not cell.status.ended for cell in progress.cells) + progress.to_come
    if to_go:
        remedy = (
            _BASELINE_LOST if progress.lost_baseline else "run the same command again to continue"
        )
        facts.add_row(
            "left", f"{to_go} of {len(progress.cells) + progress.to_come} cells; {remedy}"
        )
    parts: list[RenderableType] = [*leader_lines(results), Text(), facts]
    told = [
        sentences.failed(progress, cell.failure)
        for cell in results.with_status(Status.FAILED)
        if cell.failure is not None
    ] + sentences.setbacks(progress, results.failures)
    if told:
        parts += [Text(), sentences.below_each_other(told)]
    if last := verdict_line(results):
        parts += [Text(), *last]
    return Group(*parts)


def _failures(failures: Sequence[Failure]) -> str:
    ended = sum(failure.ended for failure in failures)
    if len(failures) == 1:
        return f"1: {sentences.by_class(failures)}{'; it ended its cell' if ended else ''}"
    number = "all" if ended == len(failures) else str(ended) if ended else "none"
    return f"{len(failures)}: {sentences.by_class(failures)}; {number} of them ended a cell"


def _places(folder: Path) -> list[tuple[str, str]]:
    """Results in the folder that a person can open."""
    optuna = optuna_file(folder)
    places = [
        ("report", folder / "report.html", str(folder / "report.html")),
        ("plots", folder / "plots", str(folder / "plots")),
        ("table", folder / "results.csv", str(folder / "results.csv")),
        ("Optuna", optuna, "optuna-dashboard " + shlex.quote(optuna_url(optuna))),
    ]
    found = [(name, text) for name, path, text in places if path.exists()]
    if unsent := offline_runs(folder):
        runs, them = ("run", "it") if len(unsent) == 1 else ("runs", "them")
        text = f"{len(unsent)} offline {runs}; to upload {them}: {sync_command(folder)}"
        found.append(("W&B", text))
    return found
