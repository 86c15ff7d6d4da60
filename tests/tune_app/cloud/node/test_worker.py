"""What a worker is told, and what it says of itself."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tune_app.cloud.node import worker
from tune_app.cloud.node.starting import RayStartError
from tune_app.cloud.node.worker import (
    TRIES,
    WorkerNode,
    arguments,
    raylet_log,
    start_worker,
    worker_node,
)


def test_a_worker_knows_its_number_from_the_environment_or_its_folder(tmp_path: Path) -> None:
    told = {"STELLUX_K": "5", "STELLUX_CPUS": "3.5", "STELLUX_CLUSTER": "mine"}
    expected = WorkerNode(cluster="mine", k=5, head="127.77.0.1", offered_cpus=3)
    assert worker_node(told, tmp_path / "k") == expected

    (tmp_path / "k").write_text("7\n", "utf-8")
    found = worker_node({"RAY_HEAD_IP": "127.77.9.1"}, tmp_path / "k")
    assert found == WorkerNode(cluster="stellux", k=7, head="127.77.9.1", offered_cpus=None)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "neither STELLUX_K nor"),
        ({"STELLUX_K": "two"}, "whole number"),
        ({"STELLUX_K": "1"}, "the head's"),
        ({"STELLUX_K": "128"}, "127"),
        ({"STELLUX_K": "2", "STELLUX_CPUS": "inf"}, "STELLUX_CPUS is 'inf'"),
    ],
)
def test_a_worker_that_is_not_told_who_it_is_says_so(
    tmp_path: Path, told: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        worker_node(told, tmp_path / "k")


def test_ray_is_told_what_this_machine_has(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    node = WorkerNode(cluster="mine", k=4, head="127.77.0.1", offered_cpus=1)
    words = arguments(node, gcs_port=7000)
    assert {"--address=127.77.0.1:7000", "--num-cpus=1", "--node-ip-address=127.77.0.4"} <= set(
        words
    )
    assert any(word.startswith("--plasma-directory=/") for word in words)
    assert "an object store of" in caplog.text


def test_the_raylets_last_words(tmp_path: Path) -> None:
    (tmp_path / "raylet.err").write_text("".join(f"line {i}\n" for i in range(99)), "utf-8")
    now = (tmp_path / "raylet.err").stat().st_mtime
    said = raylet_log(tmp_path, since=now - 1)
    assert said.endswith("line 98")
    assert "line 83" not in said
    # An earlier raylet's are not this one's.
    assert "no raylet wrote" in raylet_log(tmp_path, since=now + 1)
    assert "no raylet wrote" in raylet_log(tmp_path / "none", since=0)


@pytest.mark.parametrize("failing", [1, TRIES])
def test_a_start_that_fails_is_tried_once_more(
    failing: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    did: list[str] = []

    def started(*_: object, **__: object) -> psutil.Process:
        did.append("start")
        if did.count("start") <= failing:
            raise RayStartError("the current node timed out during startup")
        return psutil.Process()

    monkeypatch.setattr(worker, "check_token", lambda home: None)
    monkeypatch.setattr(worker, "wait_for", lambda *_, **__: True)
    monkeypatch.setattr(worker, "end_marked", lambda *_, **__: did.append("end"))
    monkeypatch.setattr(worker, "_started", started)
    node = WorkerNode(cluster="mine", k=4, head="127.77.0.1", offered_cpus=1)
    seconds = {"head_s": 1.0, "start_s": 1.0, "again_s": 1.0, "stop_s": 1.0}

    if failing < TRIES:
        start_worker(node, {}, gcs_port=7000, **seconds)
        assert did == ["end", "start", "end", "start"]
        assert "timed out during startup\nonce more" in caplog.text
        assert "Ray runs on worker 4" in caplog.text
    else:
        with pytest.raises(RayStartError, match="timed out"):
            start_worker(node, {}, gcs_port=7000, **seconds)
        # Nothing of it is left.
        assert did == ["end", *["start", "end"] * TRIES]
