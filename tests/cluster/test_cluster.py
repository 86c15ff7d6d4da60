"""`ray up`, a sweep on rented workers, `ray down`: on real machines, but for Vast.ai's API."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.comparisons import unfinished
from tests.chaos.workspace import Size
from tests.cluster.machine import REPOSITORY
from tests.cluster.stage import KEY, Stage, clean_stage
from tests.cluster.sweeps import SmallSweep

pytestmark = pytest.mark.cluster
LOGGER = logging.getLogger(__name__)
GUIDE = (REPOSITORY / "docs/cluster.md").read_text("utf-8")


@pytest.fixture
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A stage that leaves nothing behind."""
    with clean_stage(tmp_path / "logs", **request.param) as made:
        yield made
    for name, seconds in made.times.items():
        LOGGER.info("%s: %.1f s", name, seconds)


def typed(at: Stage, line: str, *more: str, check: bool = True) -> str:
    """What a line of the guide prints, as typed at the laptop; the guide's sweep is the test's."""
    assert line in GUIDE, line
    words = shlex.split(line.replace("embedding_glu", "small"))
    done = at.at_laptop(*words, *more, check=check)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "at",
    [
        pytest.param({}, id="short"),
        # The time-outs that users have: some minutes more.
        pytest.param({"default_patience": True}, id="default", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_a_sweep_brings_workers_runs_on_them_and_gives_them_back(at: Stage, tmp_path: Path) -> None:
    sweep = SmallSweep(stage=at, size=Size(tokens=200_000, seeds=2, expansions=(2.0, 2.66, 3.0)))
    said = [at.timed("ray up", lambda: typed(at, "ray up cluster.yaml", "-y"))]
    assert "gpu-worker: offer" in said[0]  # what could be rented, and for how much
    assert at.vast.alive() == []  # and nothing was
    sweep.send()
    began = time.monotonic()
    sweep.start(tmp_path / "session.log")
    at.timed("two workers", lambda: at.wait_for(lambda: len(at.ray_workers()) == 2))
    said.append(typed(at, "python -m tune_app.cloud status --cluster cluster.yaml"))
    for shown in ("RTX 4090", "small.py --name small", "seed 1"):
        assert shown in said[-1]
    # The autoscaler's own summary may be a few seconds old.
    line = "ray exec cluster.yaml 'ray status'"
    at.wait_for(lambda: "2 gpu-worker" in typed(at, line))
    fetch = "python -m tune_app.cloud fetch --cluster cluster.yaml"
    typed(at, fetch, check=False)  # whatever it is worth beside a sweep, the next is whole

    at.wait_for(lambda: not sweep.running())
    at.times["the sweep, with its workers' start"] = time.monotonic() - began
    said.append(sweep.log())
    with sweep.journal(tmp_path / "journal") as journal:
        assert unfinished(journal.cells()) == [], said[-1]
        assert len(journal.cells()) == 6
        assert len({attempt.host for attempt in journal.attempts()}) == 2
    said.append(at.timed("fetch", lambda: typed(at, fetch)))
    results = "--results stellux-stellux-results/runs"
    assert "seed 1" in typed(at, f"python -m tune_app.sweep status embedding_glu {results}")
    report = at.laptop.path("/root/stellux-stellux-results/runs/small/report.html")
    assert report.stat().st_size > 1_000

    said.append(at.timed("ray down", lambda: typed(at, "ray down cluster.yaml", "-y")))
    assert "No nodes remaining" in said[-1]
    assert at.vast.alive() == []
    assert not at.head.path("/etc/stellux/vast_key").exists()
    at.wait_for(lambda: at.instances.machines == {}, within_s=20)
    left = [command for command in at.head.processes().values() if "sshd" not in command]
    assert left == []
    assert KEY not in "\n".join(said)
