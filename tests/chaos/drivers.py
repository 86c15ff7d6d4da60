"""A sweep with ASHA and the kill rule, whose driver is killed again and again.

With one cell at a time observations arrive in one order, so every rung and every decision must be
the undisturbed sweep's. With several at once the order is chance, and what must hold is that a
cell that has ended is never trained again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import comparisons as must
from tests.chaos.cluster import LocalCluster
from tests.chaos.driver import Driver
from tests.chaos.harness import SWEEP_SECONDS
from tests.chaos.processes import describe, marked
from tests.chaos.progress import Progress
from tests.chaos.report import Report
from tests.chaos.schedule import make_moments
from tests.chaos.workspace import Size, Workspace
from tune_app.journal.journal import Journal
from tune_app.journal.records import ENDED_EARLY
from tune_app.on_ray.tuner import SCRATCH
from tune_app.stopping.asha_stop import AshaStopSettings
from tune_app.stopping.recording_referee import RecordingReferee

logger = logging.getLogger(__name__)

UNDISTURBED = "undisturbed"
ONE_AT_A_TIME = "one-at-a-time"
SEVERAL_AT_ONCE = "several-at-once"

LATEST = 20.0
"""Seconds after its start at which a driver is killed at the latest; it trains after 6 to 10."""


@dataclass(frozen=True, kw_only=True)
class DriverOptions:
    """What a run does. Raises ValueError for what cannot be run."""

    kills: int = 20
    """With one cell at a time; half as many with several at once."""
    seed: int = 0
    interval: float = 2.0
    """Seconds from checkpoint to checkpoint."""
    tokens: int = 300_000
    """A cell."""

    def __post_init__(self) -> None:
        if self.kills < 1:
            raise ValueError(f"{self.kills} kills; there must be at least 1")

    @property
    def size(self) -> Size:
        """Twelve cells."""
        return Size(tokens=self.tokens, seeds=3, expansions=(2.0, 2.5, 2.66, 3.0))


@dataclass(frozen=True, kw_only=True)
class Killed:
    """A sweep whose driver was killed, at its end."""

    kills: int
    code: int
    ended: Mapping[str, int]
    """Attempts of each cell when it was first seen to have ended."""
    attempts: Mapping[str, int]
    seconds: float


def run_drivers(folder: Path, options: DriverOptions) -> Report:
    """Runs the three sweeps in a new folder and compares them."""
    space = Workspace(folder, options.size)
    moments = make_moments(
        count=options.kills + (options.kills + 1) // 2, seed=options.seed, longest=LATEST
    )
    with LocalCluster(workers=2, environment=space.environment) as cluster:

        def driver(name: str, cells_at_once: int) -> Driver:
            return space.driver(
                name, cluster, cells_at_once=cells_at_once, interval=options.interval
            )

        reference = driver(UNDISTURBED, 1)
        reference.start()
        assert reference.wait(SWEEP_SECONDS) == 0, reference.output()
        one = driver(ONE_AT_A_TIME, 1)
        ones = kill_again_and_again(
            one, Progress(space.path(ONE_AT_A_TIME)), moments[: options.kills]
        )
        several = driver(SEVERAL_AT_ONCE, 2)
        severals = kill_again_and_again(
            several, Progress(space.path(SEVERAL_AT_ONCE)), moments[options.kills :]
        )
        time.sleep(2.0)
        scratch = must.leftovers(cluster.scratch, space.results, scratch=SCRATCH)
    orphans = describe(marked(cluster.token))
    wanted = {ONE_AT_A_TIME: options.kills, SEVERAL_AT_ONCE: len(moments) - options.kills}
    with (
        space.journal(UNDISTURBED) as there,
        space.journal(ONE_AT_A_TIME) as here,
        space.journal(SEVERAL_AT_ONCE) as many,
    ):
        stopped = sum(cell.status in ENDED_EARLY for cell in there.cells())
        checks = {
            "every kill was struck": [
                f"{name}: the sweep ended after {killed.kills} of {wanted[name]} kills"
                for name, killed in ((ONE_AT_A_TIME, ones), (SEVERAL_AT_ONCE, severals))
                if killed.kills < wanted[name]
            ],
            "the last drivers ended well": [
                f"code {killed.code}" for killed in (ones, severals) if killed.code != 0
            ],
            "the rules had something to decide": [] if stopped else ["no cell ended early"],
            "one at a time: every curve is the same, bit for bit": must.differing_curves(
                here.observations(), there.observations()
            ),
            "one at a time: no decision changed, nor their order": must.changed_decisions(
                here.decisions(), there.decisions(), in_order=True
            ),
            "one at a time: every rung is the same": _differing_rungs(here, there),
            "one at a time: every status is the same": [
                f"{cell.label} is {cell.status.value}, undisturbed {other.status.value}"
                for cell, other in zip(here.cells(), there.cells(), strict=True)
                if cell.status is not other.status
            ],
            "one at a time: no ended cell trained again": must.trained_again(
                ones.ended, ones.attempts
            ),
            "several at once: no ended cell trained again": must.trained_again(
                severals.ended, severals.attempts
            ),
            "several at once: every cell ended": [
                f"{cell.label} is {cell.status.value}"
                for cell in many.cells()
                if not cell.status.ended
            ],
            "nothing was observed twice": must.duplicates([*here.observations()])
            + must.duplicates([*many.observations()]),
            "no replay gave another result": must.differing_replays(
                one.output() + several.output()
            ),
            "no driver showed a traceback": must.tracebacks(one.output() + several.output()),
            "no process is left": orphans,
            "no temporary file is left": scratch,
        }
    return Report(
        checks=checks,
        text=(
            f"{options.size.cells} cells, {stopped} of them ended early when undisturbed, seed "
            f"{options.seed}\none at a time: {ones.kills} kills, {ones.seconds:.0f} s; several at "
            f"once: {severals.kills} kills, {severals.seconds:.0f} s\n{len(ones.ended)} and "
            f"{len(severals.ended)} cells had ended when the driver was killed for the last time"
        ),
        values={
            "seed": options.seed,
            "cells": options.size.cells,
            "kills": {ONE_AT_A_TIME: ones.kills, SEVERAL_AT_ONCE: severals.kills},
            "ended_at_last_kill": {
                ONE_AT_A_TIME: len(ones.ended),
                SEVERAL_AT_ONCE: len(severals.ended),
            },
            "seconds": {ONE_AT_A_TIME: ones.seconds, SEVERAL_AT_ONCE: severals.seconds},
        },
    )


def kill_again_and_again(driver: Driver, progress: Progress, moments: Sequence[float]) -> Killed:
    """SIGKILL at each moment after a start of the driver, then lets the sweep end."""
    started = time.time()
    ended: dict[str, int] = {}
    kills = 0
    driver.start()
    for moment in moments:
        _sleep_until(driver, driver.started_at + moment)
        if not driver.alive:
            break
        driver.kill()
        kills += 1
        progress.look()
        ended = {cell: progress.attempts[cell] for cell in progress.ended} | ended
        logger.info("kill %d after %.1f s: %d cells have ended", kills, moment, len(ended))
        driver.start()
    code = driver.wait(SWEEP_SECONDS)
    progress.look()
    return Killed(
        kills=kills,
        code=code,
        ended=ended,
        attempts=progress.attempts,
        seconds=time.time() - started,
    )


def rungs(journal: Journal) -> dict[int, dict[str, float]]:
    """ASHA's rungs as a driver that starts now would fill them."""
    sweep = journal.sweep()
    asha = AshaStopSettings.from_record(sweep.scheduler).build(tokens=sweep.tokens)
    RecordingReferee(journal, {AshaStopSettings.NAME: asha})
    return {milestone: dict(rung) for milestone, rung in asha.rungs.recorded.items()}


def _differing_rungs(here: Journal, there: Journal) -> list[str]:
    one, other = rungs(here), rungs(there)
    return [
        f"at {milestone} tokens: {one.get(milestone)} not {other.get(milestone)}"
        for milestone in sorted(one.keys() | other.keys())
        if list(one.get(milestone, {}).items()) != list(other.get(milestone, {}).items())
    ]


def _sleep_until(driver: Driver, moment: float) -> None:
    """Returns early where the driver ends."""
    while driver.alive and (left := moment - time.time()) > 0:
        time.sleep(min(0.1, left))
