"""Scores the leader on the test split, once, at the end of a sweep."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console

from data.display import progress_display
from data.prepared import PreparedCorpus
from data.progress import Report
from model.training.gpu_errors import told_by
from tune_app.devices import AUTO, available_devices, default_device, use_threads
from tune_app.faults.reasons import reason_of
from tune_app.formats import one_line
from tune_app.journal.endings import CTRL_C, Ending, EndKind
from tune_app.journal.journal import Journal
from tune_app.journal.records import Score
from tune_app.machine_limits import usable_cpus
from tune_app.plan.tokenizer import tokenizer_of
from tune_app.results.designs import CellResult
from tune_app.results.summary import SweepResults, summarise
from tune_app.sweep.inheritance import Tested
from tune_app.trial import held_out

logger = logging.getLogger(__name__)


def cells_to_score(results: SweepResults, *, tested: Tested = "leader") -> list[CellResult]:
    """The finished cells of the leading design and of the baseline that have no test score yet.

    Scoring every cell would be a second contest, on the test split. The baseline, which was chosen
    before anything was trained, is the yardstick: the gap to it is what the leader owes to its
    design, and not to having been chosen on the dev split.

    tested: whose cells are wanted.
    """
    if tested == "none":
        return []
    designs = list(results.designs) if tested == "all" else [results.leader, results.baseline]
    cells = [cell for design in designs if design is not None for cell in design.finished]
    return list({cell.cell.key: cell for cell in cells if cell.test is None}.values())


def score_leader(
    journal: Journal,
    corpora: Mapping[str, PreparedCorpus],
    folder: Path,
    *,
    console: Console,
    device: str = AUTO,
    threads: int = 1,
    tested: Tested = "leader",
) -> Ending | None:
    """Scores what `cells_to_score` names and records it; says what cannot be scored, and why.

    Each score is on the disk before the next one is computed, so a sweep that is killed here goes
    on here. No error in here ends the sweep, as its ranking does not need these scores, but for the
    loss of the GPU: nothing more is scored in this process, and in the next one all can be.

    Args:
        corpora: by tokenizer key.
        folder: of the sweep.
        device: of this machine; another one takes its place if it is not there.
        threads: CPUs that the user gave to the sweep; no more are used than there are.
        tested: see `cells_to_score`.

    Returns what ended it before all were tried; None if nothing did.
    """
    if not all(corpus.has_test for corpus in corpora.values()):
        return None
    cells = cells_to_score(summarise(journal), tested=tested)
    if not cells:
        return None
    device = device if device in available_devices() else default_device()
    labels = ", ".join(one_line(result.cell.label) for result in cells)
    what = "which decides nothing" if tested == "leader" else "on which the verdict rests"
    _say(console, f"scoring on the test split, {what}: {labels}")
    failed = []
    try:
        for result in cells:
            try:
                with progress_display(console) as report, _threads(min(threads, usable_cpus())):
                    journal.score(_score(result, corpora, folder, device, report))
            except (ValueError, OSError, RuntimeError) as error:
                told = told_by(error, device=device)
                if isinstance(told, torch.AcceleratorError):
                    what = f"{device} was lost while the test split was scored"
                    return Ending(kind=EndKind.LOST, reason=f"{what}: {reason_of(told)}")
                failed.append(one_line(result.cell.label))
                logger.warning(
                    "%s is not scored on the test split: %s",
                    result.cell.label,
                    one_line(str(error)) or type(error).__name__,
                )
    except KeyboardInterrupt:
        _say(console, "interrupted; the same command scores what is left")
        return CTRL_C
    if failed:
        _say(
            console,
            f"not scored on the test split, the same command tries it again: {', '.join(failed)}",
        )
    return None


def _score(
    result: CellResult,
    corpora: Mapping[str, PreparedCorpus],
    folder: Path,
    device: str,
    report: Report,
) -> Score:
    assert result.last is not None, "a finished cell has an observation"
    tokenizer = tokenizer_of(result.cell.values).key
    if tokenizer not in corpora:
        raise ValueError(f"no cell of the newest command has its tokenizer, {tokenizer}")
    if result.checkpoint is None:
        raise ValueError("no checkpoint of it is kept")
    return held_out.score(
        result.cell.key,
        result.checkpoint,
        corpora[tokenizer],
        tokens=result.last.tokens,
        folder=folder,
        device=device,
        report=report,
    )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """CPU threads of this process while the block runs."""
    before = torch.get_num_threads()
    use_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _say(console: Console, text: str) -> None:
    console.print(
        text, style="dim", markup=False, highlight=False, soft_wrap=not console.is_terminal
    )
