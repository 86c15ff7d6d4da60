"""The dry run of a study: what its phases cost at most on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from tune_app.cluster.options import Means, RunOptions
from tune_app.devices import AUTO, checked_device
from tune_app.evaluation.suite_names import refuse_missing_data
from tune_app.plan.plan import SweepPlan
from tune_app.study.budget import refuse_over_budget
from tune_app.study.dollars import refuse_over_dollars
from tune_app.study.forecast import Timed, forecast, forecast_lines
from tune_app.study.spec import Study
from tune_app.sweep.checks import this_machine
from tune_app.sweep.estimate import plan_rows
from tune_app.terminal.facts import print_facts


def show_plan(study: Study, options: RunOptions, *, console: Console) -> None:
    """Prints the forecast. Raises ValueError if the study does not fit its budget."""
    refuse_over_budget(study)
    refuse_missing_data(study.evaluate, study.evaluation_data)
    means = Means.of(options, this_machine(options.device))
    with console.status("timing a few training steps of the baseline on this machine"):
        price = options.dollars_per_hour
        found = forecast(
            study,
            timed_on(options),
            dollars_an_hour=None if price is None else (price, price),
            at_once=means.cells_at_once,
        )
    refuse_over_dollars(found, limit=options.max_dollars, spent=0.0)
    facts = forecast_lines(found, budget=study.budget, at_once=means.cells_at_once)
    head = f"Study {study.name}: {len(study.phases)} phases, {means.cells_at_once} cells at once"
    print_facts(console, head, facts)


def cells_at_once(options: RunOptions) -> int:
    """Cells that this machine trains in parallel."""
    return Means.of(options, this_machine(options.device)).cells_at_once


def timed_on(options: RunOptions) -> Timed:
    """What times a plan on this machine, or for a cluster on the machine that drives it."""

    def timed(plan: SweepPlan) -> Sequence[float | None]:
        device = checked_device(AUTO if options.on_a_cluster else options.device)
        rows = plan_rows(plan, threads=options.cpus, device=device)
        return [row.expected_seconds for row in rows]

    return timed
