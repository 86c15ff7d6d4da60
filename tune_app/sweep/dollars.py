"""What a sweep may cost: what it has cost, what it will, and whether it may start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tune_app import formats
from tune_app.cluster.daemon import ClusterDaemon, Inquiry
from tune_app.cluster.options import Means, RunOptions
from tune_app.cluster.packing import Packing
from tune_app.cluster.purse import Purse
from tune_app.devices import checked_device
from tune_app.dollars.limit import dollars, refuse_start
from tune_app.journal.costs import account_of
from tune_app.journal.journal import Journal
from tune_app.plan.plan import SweepPlan
from tune_app.plan.rows import PlannedCell
from tune_app.sweep.estimate import plan_rows, seconds_alone
from tune_app.sweep.folder import JOURNAL


def purse_of(
    journal: Journal,
    options: RunOptions,
    *,
    name: str,
    trains: bool,
    daemon: ClusterDaemon | None,
    sharing: Packing | None = None,
) -> Purse:
    """The purse of a sweep.

    Args:
        name: of the sweep, by which the cluster's daemon knows its driver.
        trains: whether anything is left to train.
        daemon: rents the cluster's machines; None where nothing is rented.
        sharing: how cells share GPUs; None if each has one.
    """
    return Purse(
        journal,
        trains=trains,
        dollars_per_hour=options.dollars_per_hour,
        sharing=sharing,
        limit=options.max_dollars,
        inquiry=None if daemon is None else Inquiry(daemon, f"sweep {name}"),
    )


def refuse_over_limit(
    plan: SweepPlan,
    left: Sequence[PlannedCell],
    options: RunOptions,
    means: Means,
    *,
    dev_bytes: int,
    priced: bool,
    done: Mapping[str, float] = MappingProxyType({}),
    sharing: Packing | None = None,
) -> None:
    """Raises ValueError if a sweep would exceed its limit in dollars, or has reached it.

    Args:
        plan: of the sweep.
        left: cells that are not trained yet.
        options: how it is run.
        means: what it has to run on.
        dev_bytes: of the dev split.
        priced: whether the prices of a cluster's machines are known.
        done: share of its training that a cell need not repeat, by key.
        sharing: how cells share GPUs; None if each has one.
    """
    limit = options.max_dollars
    if limit is None or not left:
        return
    if options.dollars_per_hour is None and not priced:
        raise ValueError(
            f"--max-dollars {limit:g} needs prices, and this cluster's are not known: it holds for "
            "rented clusters, with the sweep started on their head, and with --dollars-per-hour"
        )
    spent = spent_in(options.results / plan.name)
    forecast, how = None, ""
    if spent == 0 and options.dollars_per_hour is not None:
        seconds = _seconds(
            plan, left, options, means, dev_bytes=dev_bytes, done=done, sharing=sharing
        )
        forecast = forecast_dollars(seconds, options.dollars_per_hour)
        how = (
            f"{formats.duration(seconds)} at ${options.dollars_per_hour:g} an hour if no cell is "
            "stopped"
        )
    refuse_start(limit, spent=spent, forecast=forecast, how=how)


def forecast_dollars(seconds: float, dollars_per_hour: float) -> float:
    """What so many seconds of a machine cost."""
    return seconds / 3_600 * dollars_per_hour


def forecast_text(seconds: float, options: RunOptions) -> str:
    """The cost of a plan that takes so long, with its limit; empty without a price."""
    if options.dollars_per_hour is None:
        return ""
    text = f"about {dollars(forecast_dollars(seconds, options.dollars_per_hour))}"
    limit = "" if options.max_dollars is None else f"; at most ${options.max_dollars:g}"
    return f"{text}, at ${options.dollars_per_hour:g} an hour for this machine{limit}"


def spent_in(folder: Path) -> float:
    """The dollars that the sweep in a folder has cost; 0 if there is none."""
    if not (folder / JOURNAL).exists():
        return 0.0
    with Journal.open(folder / JOURNAL, read_only=True) as journal:
        found = account_of(journal)
    return 0.0 if found is None else found.spent


def _seconds(
    plan: SweepPlan,
    left: Sequence[PlannedCell],
    options: RunOptions,
    means: Means,
    *,
    dev_bytes: int,
    done: Mapping[str, float],
    sharing: Packing | None,
) -> float:
    """Wall seconds to train the cells to their ends, from a few timed steps on this machine."""
    device = checked_device(options.device)
    rows = plan_rows(plan, threads=means.cpus, device=device, dev_bytes=dev_bytes, done=done)
    seconds = seconds_alone(plan, rows, left)
    at_once = max(1, min(means.cells_at_once, len(left)))
    return seconds / (at_once if sharing is None else sharing.as_whole_gpus(at_once))
