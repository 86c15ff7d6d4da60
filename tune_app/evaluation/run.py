"""One evaluation from start to end: of a sweep's cell, or of a model alone."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from rich.console import Console

from data.display import progress_display
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.tasks.overlap import Overlap, OverlapRule
from tune_app import formats
from tune_app.evaluation.cell_metrics import evaluation_values
from tune_app.evaluation.choice import (
    ChosenCell,
    choose_cell,
    is_sweep,
    open_text_model,
    text_model,
)
from tune_app.evaluation.harness import HarnessOptions, require_harness, run_harness, suite_of
from tune_app.evaluation.model_card import told
from tune_app.evaluation.recording import (
    FOLDER,
    as_json,
    evaluating,
    record,
    recorded_metrics,
    write_contaminated,
    write_metrics,
    write_units,
)
from tune_app.evaluation.results import Contamination, SuiteResult, evaluate_suite
from tune_app.evaluation.suite_names import LANGUAGE
from tune_app.evaluation.suites import Suite, TextSuite, find_suites, texts_of
from tune_app.journal.journal import Journal
from tune_app.journal.records import Status
from tune_app.plan.identity import completed
from tune_app.plan.tokenizer import tokenizer_of
from tune_app.portable.text_model import TextModel
from tune_app.results.mirrors.wandb import checked_mode
from tune_app.results.mirrors.wandb_evaluations import send_evaluations
from tune_app.results.whole_files import replacing
from tune_app.sweep.folder import JOURNAL

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What the command line asks for."""

    suites: tuple[str, ...] = (LANGUAGE,)
    splits: tuple[str, ...] | None = None
    """Of the corpus that are scored; None for all."""
    data: Path | None = None
    """Folder of published data."""
    to: Path | None = None
    """Folder of the results; by default in the sweep's."""
    overlap: OverlapRule = field(default_factory=OverlapRule)
    harness: HarnessOptions | None = None
    """Tasks of lm-evaluation-harness."""
    wandb: str = "off"
    """`offline` or `online`, to send the results of a sweep's cell to its run."""
    device: str = "cpu"


def evaluate(
    name: str,
    options: EvaluationOptions,
    *,
    cell: str | None = None,
    results: Path = Path("runs"),
    console: Console,
) -> Path:
    """Evaluates a sweep's cell, an export or a checkpoint; returns the folder of the results.

    Raises ValueError for a model, a suite or data that is not there or cannot be used.
    """
    if options.wandb != "off":
        checked_mode(options.wandb)
        if not is_sweep(name, results):
            raise ValueError("--wandb needs a sweep, whose cells have runs; leave it out")
    if options.harness is not None:
        require_harness()  # before anything is scored
    if is_sweep(name, results):
        return evaluate_cell(choose_cell(name, cell=cell, results=results), options, console)
    model = open_text_model(name, cell=cell, results=results, device=options.device)
    return _alone(model, Path(name).expanduser().stem, options, console)


def evaluate_cell(
    chosen: ChosenCell,
    options: EvaluationOptions,
    console: Console,
    *,
    overlaps: Contamination | None = None,
) -> Path:
    """Evaluates a sweep's cell; returns the folder of the results.

    What a suite scored is in the journal, with its files, as soon as it is done: interrupted and
    repeated, an evaluation goes on with those that are missing.

    Args:
        chosen: the cell.
        options: what on; `wandb` and `harness` included.
        console: shows the results.
        overlaps: what is known already of overlaps with training text, which other cells share.

    Raises ValueError as `evaluate`, and if the cell is being evaluated already.
    """
    key = chosen.cell.cell.key
    folder = options.to or chosen.folder / FOLDER / key
    trained = chosen.load(device=options.device)
    model = text_model(trained)
    corpus = _corpus(chosen, console)
    overlaps = overlaps or Contamination(options.overlap)
    suites = [
        one
        for one in find_suites(options.suites, model=model, corpus=corpus, folder=options.data)
        if options.splits is None or one.name != LANGUAGE or one.split in options.splits
    ]
    with (
        evaluating(folder),
        Journal.open(chosen.folder / JOURNAL) as journal,
    ):
        known = {(one.suite, one.split) for one in journal.evaluations(key)}
        finished = chosen.cell.cell.status is Status.FINISHED
        waiting = []
        for suite in suites:
            if suite.split == "test" and suite.name == LANGUAGE and not finished:
                _say(console, f"{suite.name}, test: not scored, as the cell has not finished")
            elif (suite.name, suite.split) in known:
                _say(console, f"{suite.name}, {suite.split}: recorded already, and scored once")
            else:
                waiting.append(suite)
        training = texts_of(corpus.split("train"), corpus.tokenizer())
        overlapping = overlaps.of(_checked(waiting), training, corpus=corpus.manifest.corpus_sha256)
        done = []
        harness = _new_to(known, options.harness, console)
        results = _results(model, waiting, overlapping, options, console)
        for result in chain(results, _of_harness(model, harness, console)):
            # The journal last: what is recorded is complete, and what is not is done again.
            write_units(folder, result)
            write_contaminated(folder, result)
            record(journal, chosen.cell, result, tokens=trained.tokens)
            done.append(result)
        metrics, evaluations = recorded_metrics(journal, key), journal.evaluations(key)
        write_metrics(folder, metrics)
    if options.wandb != "off":
        send_evaluations(
            evaluations,
            sweep=chosen.results.sweep,
            cell=chosen.cell.cell,
            folder=chosen.folder,
            mode=options.wandb,
        )
    if done:
        sweep = formats.sweep_arguments(chosen.folder)
        _say(console, f"`stellux report {sweep}` writes its tables and plots with these results")
    return folder


def _alone(model: TextModel, name: str, options: EvaluationOptions, console: Console) -> Path:
    """Of an export or a checkpoint, without a journal."""
    suites = find_suites(options.suites, model=model, corpus=None, folder=options.data)
    folder = options.to or Path(FOLDER) / name
    own = _results(model, suites, {}, options, console)
    done = list(chain(own, _of_harness(model, options.harness, console)))
    for result in done:
        write_units(folder, result)
    values = [evaluation_values(one.suite, one.split, one.metrics, one.notes) for one in done]
    with replacing(folder / "evaluations.json") as temporary:
        temporary.write_text(as_json(values), encoding="utf-8")
    return folder


def _checked(suites: Sequence[Suite]) -> list[Suite]:
    """The suites that may overlap with the training text."""
    return [one for one in suites if not (isinstance(one, TextSuite) and one.is_training_text)]


def _results(
    model: TextModel,
    suites: Sequence[Suite],
    overlapping: Mapping[tuple[str, str], Sequence[Overlap]],
    options: EvaluationOptions,
    console: Console,
) -> Iterator[SuiteResult]:
    for suite in suites:
        result = evaluate_suite(
            model,
            suite,
            overlapping=overlapping.get((suite.name, suite.split)),
            rule=options.overlap,
        )
        _tell(console, result)
        for note in ("shortened", "skipped", "contaminated"):
            if number := result.metrics.get(note):
                _say(console, f"  {number:,.0f} {note}")
        yield result


def _tell(console: Console, result: SuiteResult) -> None:
    values = evaluation_values(result.suite, result.split, result.metrics, result.notes)
    seconds = formats.duration(result.metrics["seconds"])
    _say(console, f"{result.suite}, {result.split}: {told(values)} ({seconds})")


def _new_to(
    known: Collection[tuple[str, str]], options: HarnessOptions | None, console: Console
) -> HarnessOptions | None:
    """The tasks of the harness that are not recorded; None if there are none."""
    if options is None:
        return None
    waiting = []
    for task in options.tasks:
        name = (suite_of(task), options.split)
        if name in known:
            _say(console, f"{', '.join(name)}: recorded already, and scored once")
        else:
            waiting.append(task)
    return replace(options, tasks=tuple(waiting)) if waiting else None


def _of_harness(
    model: TextModel, options: HarnessOptions | None, console: Console
) -> Iterator[SuiteResult]:
    if options is None:
        return
    for result in run_harness(model, options):
        _tell(console, result)
        yield result


def _corpus(chosen: ChosenCell, console: Console) -> PreparedCorpus:
    """The corpus of the sweep in the cell's tokens. Raises ValueError if it is another one now."""
    values = completed(chosen.cell.cell.values)
    with progress_display(console) as report:
        corpus = prepare(values["corpus"], tokenizer_of(values), report=report)
    wanted = chosen.results.sweep.corpus_sha256
    if corpus.manifest.corpus_sha256 != wanted:
        raise ValueError(
            f"the corpus {values['corpus']} has changed since the sweep (its SHA-256 was "
            f"{wanted[:12]}…, now it is {corpus.manifest.corpus_sha256[:12]}…); put it back"
        )
    return corpus


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
