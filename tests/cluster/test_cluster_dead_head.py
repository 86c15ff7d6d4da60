"""The head dies whole, and nobody is left to end its workers: they end themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.namespaces import started_at
from tests.cluster.stage import Stage, clean_stage

pytestmark = pytest.mark.cluster

SILENT_S, STEP_S = 40, 2
"""In the place of 800 and 30."""
QUESTION_S = CALL_S = 30
"""The most that a question to the head, and one to the market, may take: as they are."""


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Stage]:
    with clean_stage(tmp_path / "logs") as made:
        kind = made.config["provider"]["vast"]["node_types"]["gpu-worker"]
        kind["env"] = {"STELLUX_SILENT_S": str(SILENT_S), "STELLUX_STEP_S": str(STEP_S)}
        made.write_config()
        yield made


def test_workers_of_a_dead_head_end_themselves_or_stop_and_are_reaped(at: Stage) -> None:
    at.at_laptop("ray", "up", "-y", "/root/cluster.yaml")
    at.hold_workers(2)
    ends, stops = sorted(at.vast.instances)
    at.vast.may_not_destroy = {stops}
    # Fed by the head, they live for longer than they would without.
    born = max(one.created for one in at.vast.instances.values())
    at.wait_for(lambda: time.time() - born > SILENT_S + 2 * STEP_S)
    assert sorted(at.instances.machines) == [ends, stops]
    processes = {
        pid: started_at(pid)
        for machine in [at.head, *at.instances.machines.values()]
        for pid in machine.processes()
    }

    at.head.power_off()
    # As 800 + 30 + 30 + 30 s are under 15 minutes.
    within_s = SILENT_S + STEP_S + QUESTION_S + CALL_S
    at.wait_for(lambda: [one.id for one in at.vast.alive()] == [stops], within_s=within_s)
    # Refused, it asks to be stopped a step later.
    at.wait_for(lambda: at.vast.instances[stops].stopped, within_s=STEP_S + CALL_S)
    at.wait_for(lambda: at.instances.machines == {})
    assert not any(started_at(pid) == started for pid, started in processes.items())
    calls = [name for name, body in at.vast.bodies if name == "destroy" or "state" in body]
    assert sorted(calls) == ["destroy", "destroy", "label"]  # one is refused, and stops

    status = "python -m tune_app.cloud status --cluster /root/cluster.yaml"
    assert "1 machines are rented by its label" in at.at_laptop(*status.split()).stdout
    reap = "python -m tune_app.cloud reap /root/cluster.yaml --apart 1"
    said = at.at_laptop(*reap.split()).stdout
    assert "Its machines are ended from here, by their labels" in said
    assert f"destroyed instance {stops}" in said
    assert at.vast.alive() == []
