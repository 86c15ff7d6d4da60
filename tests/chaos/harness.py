"""A sweep under random faults, compared with the same sweep undisturbed."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.chaos import comparisons as must
from tests.chaos import figures
from tests.chaos.cluster import LocalCluster
from tests.chaos.disturbance import Disturbance
from tests.chaos.driver import Driver
from tests.chaos.faults import World, durations
from tests.chaos.options import ChaosOptions
from tests.chaos.processes import describe, marked
from tests.chaos.progress import Progress
from tests.chaos.report import Report
from tests.chaos.schedule import make_schedule
from tests.chaos.store import open_store_under_test
from tests.chaos.workspace import Workspace
from tune_app.on_ray.tuner import SCRATCH

logger = logging.getLogger(__name__)

UNDISTURBED = "undisturbed"
DISTURBED = "disturbed"

SWEEP_SECONDS = 3 * 3_600.0


def run_chaos(folder: Path, options: ChaosOptions) -> Report:
    """Runs both sweeps in a new folder and compares them.

    Raises StuckError where a sweep hangs, ClusterError where no cluster comes up.
    """
    space = Workspace(folder, options.size)
    schedule = make_schedule(
        durations(short=options.short), count=options.faults, seed=options.seed
    )
    rules = ("--scheduler", "none", "--kill-rule", "off")
    with LocalCluster(workers=options.nodes, environment=space.environment) as cluster:

        def sweep(name: str, *more: str) -> Driver:
            return space.driver(
                name,
                cluster,
                *rules,
                *more,
                cells_at_once=options.nodes,
                interval=options.interval,
            )

        reference = sweep(UNDISTURBED)
        started = time.time()
        reference.start()
        assert reference.wait(SWEEP_SECONDS) == 0, reference.output()
        undisturbed_seconds = time.time() - started
        logger.info("undisturbed: %.0f s for %d cells", undisturbed_seconds, options.size.cells)

        store = open_store_under_test(options.store, folder / "store")
        driver = sweep(DISTURBED, "--checkpoints", store.url)
        world = World(
            cluster=cluster,
            driver=driver,
            store=store,
            progress=Progress(space.path(DISTURBED)),
        )
        started = time.time()
        driver.start()
        disturbance = Disturbance(world, folder / "faults.jsonl")
        try:
            disturbance.strike_all(schedule)
            trained = sum(world.progress.tokens.values())
            code = disturbance.finish()
        finally:
            disturbance.mend_all()
            store.close()
            if driver.alive:
                driver.kill()
        seconds = time.time() - started
        time.sleep(2.0)
        trainers = [worker.process for node in cluster.nodes for worker in node.workers()]
        still_training = describe(trainers)
        scratch = must.leftovers(cluster.scratch, folder, scratch=SCRATCH)
    orphans = describe(marked(cluster.token))

    blows = disturbance.blows
    with space.journal(DISTURBED) as here, space.journal(UNDISTURBED) as there:
        checks = {
            "every fault was struck": _missing(options.faults, len(blows)),
            "no driver ended by itself": [f"code {code}" for code in disturbance.ended_by_itself],
            "the last driver ended well": [] if code == 0 else [f"code {code}"],
            "every cell finished": must.unfinished(here.cells()),
            "every curve is the same, bit for bit": must.differing_curves(
                here.observations(), there.observations()
            ),
            "nothing was observed twice": must.duplicates(here.observations()),
            "no decision changed": must.changed_decisions(
                here.decisions(), there.decisions(), in_order=False
            ),
            "no replay gave another result": must.differing_replays(driver.output()),
            "every failure has its fault": must.unexplained_failures(here.failures(), blows),
            "every death is among the failures": must.unnoticed_faults(
                here.failures(), blows, here.attempts()
            ),
            "no attempt forgot a checkpoint": must.forgotten_checkpoints(here.attempts(), blows),
            "no driver showed a traceback": must.tracebacks(driver.output()),
            "no cell trains after the end": still_training,
            "no process is left": orphans,
            "no temporary file is left": scratch,
        }
        costs = figures.costs(blows, world.progress.samples, here.attempts())
        per_interval = options.interval * median(
            point.tokens_per_second for point in there.observations()
        )
    table = figures.rows(costs, tokens_per_interval=per_interval)
    text = figures.as_text(table, interval=options.interval, tokens_per_interval=per_interval)
    share = trained / (options.size.cells * options.tokens)
    span = blows[-1].at - started if blows else seconds
    return Report(
        checks=checks,
        text=(
            f"{len(blows)} faults in {span:.0f} s ({span / max(1, len(blows)):.1f} s each) on "
            f"{options.size.cells} cells, seed {options.seed}; the sweep took {seconds:.0f} s, "
            f"undisturbed {undisturbed_seconds:.0f} s; {driver.starts} starts of the driver\n"
            f"{share:.0%} of the tokens were trained when the last fault was struck\n\n"
            f"{text}"
        ),
        values={
            "seed": options.seed,
            "faults": len(blows),
            "cells": options.size.cells,
            "nodes": options.nodes,
            "store": options.store,
            "interval_seconds": options.interval,
            "tokens_per_interval": per_interval,
            "seconds": seconds,
            "seconds_undisturbed": undisturbed_seconds,
            "seconds_per_fault": span / max(1, len(blows)),
            "share_at_last_fault": share,
            "driver_starts": driver.starts,
            "table": figures.as_values(table),
            "costs": [vars(cost) for cost in costs],
        },
    )


def _missing(wanted: int, struck: int) -> Sequence[str]:
    if struck >= wanted:
        return []
    return [f"the sweep ended after {struck} of {wanted} faults; give it more cells with --seeds"]
