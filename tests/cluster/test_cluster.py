"""`ray up`, a sweep on rented workers, `ray down`: on real machines, but for Vast.ai's API."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.comparisons import differing_curves, unfinished
from tests.chaos.workspace import Size
from tests.cluster.lab import why_not
from tests.cluster.stage import KEY, Stage, stage
from tests.cluster.sweeps import DRIVER, SmallSweep

pytestmark = pytest.mark.cluster
LOGGER = logging.getLogger(__name__)


@pytest.fixture
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A stage that leaves nothing behind."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with stage(**getattr(request, "param", {})) as made:
        try:
            yield made
        finally:
            made.save_logs(tmp_path / "logs")
        assert made.instances.failed == []
    assert made.lab.leftovers() == []
    for name, seconds in made.times.items():
        LOGGER.info("%s: %.1f s", name, seconds)


def test_a_sweep_brings_workers_runs_on_them_and_gives_them_back(at: Stage, tmp_path: Path) -> None:
    sweep = SmallSweep(stage=at, size=Size(tokens=200_000, seeds=2, expansions=(2.0, 2.66, 3.0)))
    up = at.timed("ray up", lambda: at.at_laptop("ray", "up", "-y", "/root/cluster.yaml"))
    assert "gpu-worker: offer" in up.stdout  # what could be rented, and for how much
    assert at.vast.alive() == []  # and nothing was
    sweep.send()
    began = time.monotonic()
    sweep.start(tmp_path / "session.log")
    at.timed("two workers", lambda: at.wait_for(lambda: len(at.ray_workers()) == 2, within_s=240))
    status = at.at_laptop(
        "python", "-m", "tune_app.cloud", "status", "--cluster", "/root/cluster.yaml"
    ).stdout
    assert "RTX 4090" in status
    at.wait_for(lambda: not sweep.running(), within_s=400, what=sweep.log())
    at.times["the sweep, with its workers' start"] = time.monotonic() - began
    with sweep.journal(tmp_path / "journal") as journal:
        assert unfinished(journal.cells()) == []
        assert len(journal.cells()) == 6
        assert len({attempt.host for attempt in journal.attempts()}) == 2
    assert at.head.path(f"/home/stellux/runs/{sweep.name}/report.html").stat().st_size > 1_000

    assert "no sweep runs" in at.at_head(f"{DRIVER} status", check=False).lower()
    down = at.timed("ray down", lambda: at.at_laptop("ray", "down", "-y", "/root/cluster.yaml"))
    assert "No nodes remaining" in down.stdout + down.stderr
    assert at.vast.alive() == []
    assert not at.head.path("/etc/stellux/vast_key").exists()
    at.wait_for(lambda: at.instances.machines == {}, within_s=20)
    left = [command for command in at.head.processes().values() if "sshd" not in command]
    assert left == []

    at.timed("undisturbed, on one machine", sweep.run_undisturbed)
    with sweep.journal(tmp_path / "journal") as one, sweep.journal(tmp_path / "a", "alone") as two:
        assert differing_curves(one.observations(), two.observations()) == []
    everything = "\n".join([up.stdout, up.stderr, down.stdout, down.stderr, sweep.log(), status])
    assert KEY not in everything
