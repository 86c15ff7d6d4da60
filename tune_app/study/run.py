"""A study from its file to its verdict: its phases in order, each an ordinary sweep."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tune_app.cluster.daemon import ClusterDaemon
from tune_app.cluster.options import RunOptions
from tune_app.evaluation.suite_names import refuse_missing_data
from tune_app.formats import counted
from tune_app.journal.journal import Journal
from tune_app.journal.records import Status
from tune_app.results.summary import summarise
from tune_app.stores.open import below
from tune_app.study.adopting import adopted_cells, forget_strays
from tune_app.study.budget import refuse_over_budget
from tune_app.study.definition import DEFINITION, keep_definition
from tune_app.study.dollars import limit_of_phase, refuse_over_dollars
from tune_app.study.evaluating import FINALISTS, evaluate_finalists
from tune_app.study.forecast import FILE as FORECAST
from tune_app.study.forecast import Timed, forecast, keep_forecast, kept_forecast
from tune_app.study.found import Found, PhaseFound
from tune_app.study.phases.base import PromotionError
from tune_app.study.planning import PlannedPhase, folder_of, planned_phase
from tune_app.study.report import write_report
from tune_app.study.spec import Study
from tune_app.sweep.dollars import spent_in
from tune_app.sweep.folder import JOURNAL, exclusive
from tune_app.sweep.inheritance import Inheritance
from tune_app.sweep.run import train_sweep
from tune_app.sweep.store_location import STORE_VARIABLE


class OtherEvidenceError(ValueError):
    """A phase that exists was created from other evidence than there is now."""


def run_study(
    study: Study,
    options: RunOptions,
    *,
    console: Console,
    command: str,
    timed: Timed | None = None,
    at_once: int = 1,
    daemon: ClusterDaemon | None = None,
) -> int:
    """Runs a study, or what is left of it, and writes its report. Returns the exit code.

    The creation of a phase closes the one before it, whose journal is only read from then on: what
    was decided from it stays decided.

    Args:
        study: what to run.
        options: how its sweeps are run; `results` holds the study's folder.
        console: shows the progress.
        command: the command line that continues it.
        timed: times a plan for the forecast; None: it is in tokens alone.
        at_once: cells trained in parallel, which share what their machine costs.
        daemon: knows what the cluster's machines cost; None if nothing does.

    Raises ValueError for user mistakes: a study that does not fit its budget, a phase that was
    created by another version of the file, a study that is already running.
    """
    refuse_over_budget(study)
    refuse_missing_data(study.evaluate, study.evaluation_data)
    folder = options.results / study.name
    inner = replace(options, results=folder, checkpoints=_store(study, options))
    found, unevaluated = Found(alpha=study.alpha), 0
    with exclusive(folder):
        if not (folder / FORECAST).exists():
            price = options.dollars_per_hour
            an_hour = None if price is None else (price, price)
            made = forecast(study, timed, dollars_an_hour=an_hour, at_once=at_once)
            # Refused before its folder has anything that another price would have to change.
            refuse_over_dollars(made, limit=options.max_dollars, spent=0.0)
            keep_forecast(folder, made)
        forecasts = kept_forecast(folder)
        refuse_over_dollars(
            forecasts.values(),
            limit=options.max_dollars,
            spent=sum(_spent(study, folder).values()),
        )
        if not (folder / DEFINITION).exists():
            keep_definition(study, folder)
        for number, phase in enumerate(study.phases):
            try:
                planned = planned_phase(study, number, found)
            except PromotionError as error:
                write_report(study, found, folder)
                _say(console, f"The study ends before its phase {phase.name}: {error}.")
                return 1
            _refuse_other_evidence(folder / planned.folder, planned)
            adopted = adopted_cells(study, folder, planned, found)
            if options.checkpoints is None and not (folder / planned.folder / JOURNAL).exists():
                forget_strays(inner.checkpoints or "", planned, adopted)
            if not _is_closed(study, folder, number):
                _say(console, f"Phase {number + 1} of {len(study.phases)}, {phase.name}")
                _say(console, f"  {planned.promotion.reason}")
                behind = [one.name for one in study.phases[number + 1 :]]
                limit = limit_of_phase(
                    options.max_dollars,
                    spent=_spent(study, folder),
                    later=[forecasts[name] for name in behind if name in forecasts],
                    phase=phase.name,
                )
                outcome = train_sweep(
                    planned.plan,
                    planned.rules,
                    replace(inner, max_dollars=limit),
                    console=console,
                    command=command,
                    daemon=daemon,
                    inheritance=Inheritance(
                        origin=planned.origin,
                        cells=adopted,
                        tested="all" if planned.promotion.tests_all else "none",
                    ),
                )
                if outcome.ended_by is not None:
                    console.print(
                        f"\nThe study ended early in phase {phase.name}: {outcome.ended_by}.\n"
                        f"Continue it with: {command}",
                        markup=False,
                        highlight=False,
                        soft_wrap=True,
                    )
                    return outcome.exit_code
            one = _read(folder, planned)
            if phase.KIND in FINALISTS:
                unevaluated += evaluate_finalists(study, one.results, inner, console=console)
                one = _read(folder, planned)
            found = replace(found, phases=(*found.phases, one))
        told = write_report(study, found, folder)
    console.print()
    console.print(told, markup=False, highlight=False, soft_wrap=True)
    failed = [run for run in found.runs if run.status is Status.FAILED]
    if failed:
        _say(console, f"{counted(len(failed), 'cell')} failed; see the reports of the phases")
    if unevaluated:
        _say(console, f"{counted(unevaluated, 'finalist')} not evaluated, as said above")
    return 1 if failed or unevaluated else 0


def read_study(study: Study, folder: Path) -> Found:
    """The phases of a study that have been created, in order."""
    found = Found(alpha=study.alpha)
    for number, phase in enumerate(study.phases):
        path = folder / folder_of(number, phase) / JOURNAL
        if not path.exists():
            break
        with Journal.open(path, read_only=True) as journal:
            one = PhaseFound(name=phase.name, kind=phase.KIND, results=summarise(journal))
        found = replace(found, phases=(*found.phases, one))
    return found


def _spent(study: Study, folder: Path) -> dict[str, float]:
    """The dollars that each phase has cost so far."""
    return {
        phase.name: spent_in(folder / folder_of(number, phase))
        for number, phase in enumerate(study.phases)
    }


def _store(study: Study, options: RunOptions) -> str:
    """One store for all phases, so that a cell of one is continued in another."""
    if options.checkpoints is not None:
        return options.checkpoints
    if shared := os.environ.get(STORE_VARIABLE):
        return below(shared, study.name)
    return str((options.results / study.name / "checkpoints").absolute())


def _is_closed(study: Study, folder: Path, number: int) -> bool:
    """Whether a phase is there and a later one was created from it."""
    later = [
        folder / folder_of(at, phase) / JOURNAL
        for at, phase in enumerate(study.phases)
        if at > number
    ]
    own = folder / folder_of(number, study.phases[number]) / JOURNAL
    return own.exists() and any(path.exists() for path in later)


def _refuse_other_evidence(path: Path, planned: PlannedPhase) -> None:
    if not (path / JOURNAL).exists():
        return
    with Journal.open(path / JOURNAL, read_only=True) as journal:
        recorded = journal.sweep().origin
    differing = [
        name
        for name in {**recorded, **planned.origin}
        if recorded.get(name) != planned.origin.get(name)
    ]
    if differing:
        raise OtherEvidenceError(
            f"the phase {planned.phase.name!r} in {path} was created from something else than "
            f"there is now: {', '.join(differing)} differ; restore the study's file as it was, "
            "give the study another name, or remove that folder and those of the later phases"
        )


def _read(folder: Path, planned: PlannedPhase) -> PhaseFound:
    with Journal.open(folder / planned.folder / JOURNAL, read_only=True) as journal:
        return PhaseFound(
            name=planned.phase.name, kind=planned.phase.KIND, results=summarise(journal)
        )


def _say(console: Console, text: str) -> None:
    console.print(text, style="bold", markup=False, highlight=False, soft_wrap=True)
