"""What the head's Ray is told, and what it refuses before it starts anything."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tune_app.cloud.node.head import STOPPED, HeadRay, check_environment
from tune_app.cloud.node.processes import MARK
from tune_app.cloud.node.settings import HeadSettings, load_head_settings
from tune_app.cloud.node.starting import CODE, RayStartError, ray_environment, start_ray

UNIT = {
    "RAY_CLOUD_INSTANCE_ID": "head-stellux",
    "RAY_NODE_TYPE_NAME": "head",
    "RAY_enable_autoscaler_v2": "1",
}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "ray_bootstrap_config.yaml"
    path.write_text("cluster_name: stellux\n", "utf-8")
    return str(path)


def settings(config: str, **values: Any) -> HeadSettings:
    return HeadSettings(cluster="stellux", autoscaling_config=config, overlay="", **values)


@pytest.mark.parametrize("name", sorted(UNIT))
def test_a_head_that_the_autoscaler_would_not_know_does_not_start(config: str, name: str) -> None:
    environment = {key: value for key, value in UNIT.items() if key != name}
    with pytest.raises(ValueError, match=f"{name} are not.*stellux-head"):
        HeadRay(settings(config), environment)


def test_the_first_autoscaler_is_refused(config: str) -> None:
    with pytest.raises(ValueError, match="must be 1"):
        check_environment(settings(config), {**UNIT, "RAY_enable_autoscaler_v2": "0"})


def test_without_the_clusters_yaml_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run `ray up` again"):
        check_environment(settings(str(tmp_path / "none.yaml")), UNIT)
    check_environment(settings(""), {})  # rents nothing


def test_rays_arguments(config: str) -> None:
    words = HeadRay(settings(config, temp_dir="/srv/ray"), UNIT).arguments()
    assert f"--autoscaling-config={config}" in words
    assert "--temp-dir=/srv/ray" in words
    assert {"--head", "--port=6379", "--num-cpus=0", "--node-ip-address=127.77.0.1"} <= set(words)


def test_rays_environment() -> None:
    given = {
        "PATH": "/bin",
        "PYTHONPATH": f"{CODE}:/other",
        "RAY_ADDRESS": "another:1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_health_check_failure_threshold": "2",
        MARK: "another",
    }
    made = ray_environment(given, mark="stellux-2")
    assert made["PYTHONPATH"] == f"{CODE}:/other"
    # A time-out may be set; the token is no matter of choice.
    assert made["RAY_health_check_failure_threshold"] == "2"
    assert made["RAY_gcs_rpc_server_reconnect_timeout_s"] == "300"
    assert made["RAY_AUTH_MODE"] == "token"
    assert "RAY_ADDRESS" not in made
    assert list(made.items())[-1] == (MARK, "stellux-2")


def test_what_ray_says_when_it_fails_is_told() -> None:
    with pytest.raises(RayStartError, match=r"exit code 2(.|\n)*no-such-flag"):
        start_ray(("ray", "start", "--no-such-flag"), os.environ, timeout_s=60)


def test_a_start_ends_when_it_is_told_to() -> None:
    ended = threading.Event()
    ended.set()
    with pytest.raises(RayStartError, match="was to end"):
        start_ray(("ray", "start", "--help"), os.environ, timeout_s=60, ended=ended)


def test_a_start_takes_back_what_the_one_before_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    started = tmp_path / "started"
    started.write_text("before the reboot\n", "utf-8")
    ended = threading.Event()
    ended.set()
    mine = HeadSettings(
        cluster=f"none-{os.getpid()}",
        autoscaling_config="",
        overlay="",
        started=str(started),
        temp_dir=str(tmp_path / "ray"),
    )
    assert HeadRay(mine, {**os.environ, "HOME": str(tmp_path)}).run(ended) == STOPPED
    assert not started.exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cluster": "a b"}, "cluster's name"),
        ({"cluster": "a", "gcs_port": 20_105}, "outside the nodes' own"),
        ({"cluster": "a", "gcs_port": "6379"}, "a whole number is expected"),
        ({"cluster": "a", "object_store_bytes": 1}, "80,000,000"),
        ({"cluster": "a", "look_s": 0}, "over 0"),
        ({"cluster": "a", "stop_s": True}, "a number is expected"),
        ({"cluster": "a", "port": 1}, "expected one of autoscaling_config, cluster"),
        ({}, "missing: cluster"),
        ([], "an object is expected"),
    ],
)
def test_settings_that_could_not_be_meant_are_refused(
    tmp_path: Path, values: object, said: str
) -> None:
    path = tmp_path / "head.json"
    path.write_text(json.dumps(values), "utf-8")
    with pytest.raises(ValueError, match=said) as caught:
        load_head_settings(path)
    assert str(path) in str(caught.value)


def test_settings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    path.write_text('{"cluster": "mine", "gcs_port": 7000, "stop_s": 2}', "utf-8")
    assert load_head_settings(path) == HeadSettings(cluster="mine", gcs_port=7000, stop_s=2)
    path.write_text("cluster: mine", "utf-8")
    with pytest.raises(ValueError, match="not JSON"):
        load_head_settings(path)
