"""Strikes a schedule of faults against a running sweep, and sees it to its end."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.faults import FAULTS, Blow, Fault, World
from tests.chaos.schedule import PlannedFault

logger = logging.getLogger(__name__)

PATIENCE = 240.0
"""Seconds without any sign of life of the sweep after which it hangs."""

RESTARTS = 5
"""How often a driver that ended by itself is started again, so that the run shows what follows."""

_TICK = 0.15


class StuckError(RuntimeError):
    """The sweep does not go on."""


class Disturbance:
    """One sweep under faults.

    Args:
        world: the sweep and its surroundings; the driver has been started.
        log: gets a line of JSON for each thing that happens.
    """

    def __init__(self, world: World, log: Path) -> None:
        self.world = world
        self.blows: list[Blow] = []
        self.ended_by_itself: list[int] = []
        """Exit codes of drivers that nobody killed, and that had not finished."""
        self._log = log
        self._lasting: list[tuple[float, PlannedFault, Fault]] = []
        """When each fault that lasts is over."""
        self._alive_at = time.time()

    def strike_all(self, schedule: Sequence[PlannedFault]) -> None:
        """Strikes one fault after another; ends early where the sweep does."""
        for plan in schedule:
            fault = FAULTS[plan.kind]()
            earliest = time.time() + plan.delay
            blow = None
            while blow is None and not self._over:
                self._tick()
                if time.time() >= earliest:
                    blow = fault.strike(self.world, plan)
            if blow is None:
                break
            self.blows.append(blow)
            self._note("fault", asdict(blow))
            if plan.seconds > 0:
                self._lasting.append((blow.at + plan.seconds, plan, fault))

    def finish(self) -> int:
        """Waits for the end of the last faults and of the sweep. Returns the driver's exit code."""
        while self._lasting or not self._over:
            self._tick()
        code = self.world.driver.wait(PATIENCE)
        self.world.progress.look()
        self._note("end", {"code": code})
        return code

    def mend_all(self) -> None:
        """Ends the faults that last, whatever happens."""
        while self._lasting:
            _, _, fault = self._lasting.pop()
            with suppress(OSError):
                fault.mend(self.world)

    @property
    def _over(self) -> bool:
        """Whether the sweep has ended, well or for good."""
        driver = self.world.driver
        done = driver.code == 0 and self.world.progress.all_ended
        return done or (not driver.alive and len(self.ended_by_itself) > RESTARTS)

    def _tick(self) -> None:
        time.sleep(_TICK)
        world = self.world
        seen = len(world.progress.samples)
        world.progress.look()
        for entry in [entry for entry in self._lasting if time.time() >= entry[0]]:
            self._lasting.remove(entry)
            entry[2].mend(world)
            self._note("over", {"number": entry[1].number, "kind": entry[1].kind})
        for host in world.cluster.replace_dead():
            self._note("node replaced", {"host": host})
        code = world.driver.code
        if code is not None and not (code == 0 and world.progress.all_ended):
            self.ended_by_itself.append(code)
            self._note("driver ended by itself", {"code": code})
            if len(self.ended_by_itself) <= RESTARTS:
                world.driver.start()
        if len(world.progress.samples) > seen or self._over:
            self._alive_at = time.time()
        elif time.time() - self._alive_at > PATIENCE:
            raise StuckError(
                f"no sign of life for {PATIENCE:.0f} s; the driver's last words: "
                f"{world.driver.output()[-2_000:]}"
            )

    def _note(self, event: str, values: dict[str, Any]) -> None:
        line = {"event": event, "time": time.time(), **values}
        logger.info("%s %s", event, values)
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
