"""Where nodes are, how Ray is told so, and what OpenSSH is told: by values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tune_app.cloud.overlay.addresses import LAST, Ports, address
from tune_app.cloud.overlay.ray_arguments import head_arguments, worker_arguments
from tune_app.cloud.overlay.settings import OverlaySettings, load_overlay_settings
from tune_app.cloud.overlay.verdicts import LinkPatience


def all_ports(k: int) -> list[int]:
    ports = Ports(k)
    return [
        *ports.for_head,
        ports.runtime_env_agent,
        ports.bell,
    ]


def test_a_node_has_an_address_and_a_block_of_ports() -> None:
    assert address(5) == "127.77.0.5"
    ports = Ports(5)
    assert (ports.node_manager, ports.object_manager, ports.runtime_env_agent) == (
        20500,
        20501,
        20502,
    )
    assert (ports.agent_http, ports.agent_grpc, ports.metrics) == (20503, 20504, 20505)
    assert list(ports.workers) == list(range(20510, 20526))
    assert set(ports.for_peers) < set(ports.for_head)


def test_no_port_is_used_twice_in_the_cluster_or_is_ephemeral() -> None:
    every = [port for k in range(1, LAST + 1) for port in all_ports(k)]
    assert len(set(every)) == len(every)
    assert max(every) < 32_768


@pytest.mark.parametrize("k", [0, -1, 128, True])
def test_numbers_that_no_node_can_have(k: int) -> None:
    with pytest.raises(ValueError, match="must be 1"):
        address(k)
    with pytest.raises(ValueError, match="must be 1"):
        Ports(k)


def test_ray_is_started_at_the_addresses_of_the_overlay() -> None:
    assert worker_arguments(2, gcs_port=6379, cpus=8, object_store_bytes=2_000_000_000) == (
        "ray",
        "start",
        "--address=127.77.0.1:6379",
        "--node-ip-address=127.77.0.2",
        "--node-manager-port=20200",
        "--object-manager-port=20201",
        "--runtime-env-agent-port=20202",
        "--dashboard-agent-listen-port=20203",
        "--dashboard-agent-grpc-port=20204",
        "--metrics-export-port=20205",
        "--min-worker-port=20210",
        "--max-worker-port=20225",
        "--num-cpus=8",
        "--object-store-memory=2000000000",
        "--disable-usage-stats",
    )
    head = head_arguments(gcs_port=6379, object_store_bytes=500_000_000)
    assert head[:6] == (
        "ray",
        "start",
        "--head",
        "--port=6379",
        "--dashboard-host=127.0.0.1",
        "--dashboard-port=8265",
    )
    assert {"--num-cpus=0", "--node-ip-address=127.77.0.1", "--node-manager-port=20100"} < set(head)


def test_ray_is_not_started_with_what_it_would_refuse() -> None:
    with pytest.raises(ValueError, match="80,000,000"):
        worker_arguments(2, gcs_port=6379, cpus=1, object_store_bytes=1_000)


@pytest.mark.parametrize(
    "settings",
    [
        lambda: OverlaySettings(head="-oProxyCommand=sh"),
        lambda: OverlaySettings(head="head\nProxyCommand sh"),
        lambda: OverlaySettings(head="h", link_user="a b"),
        lambda: OverlaySettings(head="h", worker_folder="/root/$(id)"),
        lambda: OverlaySettings(head="h", worker_folder="/root/../etc"),
        lambda: OverlaySettings(head="h", store_root="relative"),
        lambda: OverlaySettings(head="h", last_k=128),
        lambda: OverlaySettings(head="h", port=20_105),
        lambda: OverlaySettings(head="h", port=6379),
        lambda: OverlaySettings(head="h", network="10.0.0"),
        lambda: OverlaySettings(head="h", pause_s=0),
    ],
)
def test_settings_that_could_stand_in_no_file(settings: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must|choose|\.\."):
        settings()


def test_settings_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "overlay.json"
    path.write_text(json.dumps({"head": "h.example", "last_k": 9}), "utf-8")
    assert load_overlay_settings(path) == OverlaySettings(head="h.example", last_k=9)
    patience = {"closed": 20, "look": 0.5}
    path.write_text(json.dumps({"head": "h.example", "patience": patience}), "utf-8")
    assert load_overlay_settings(path).patience == LinkPatience(closed=20.0, look=0.5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "an object is expected"),
        ('{"last_k": 9}', "missing: head"),
        (
            '{"head": "h", "hed": 1}',
            "unknown setting 'hed'; did you mean head. expected one of al",
        ),
        ('{"head": "h", "port": "22"}', "port is '22'; a whole number is expected"),
        ('{"head": "h", "last_k": true}', "a whole number is expected"),
        ('{"head": "h", "last_k": 1}', "overlay.json: the last node is 1"),
        ('{"head": "h", "patience": 10}', "patience is 10; an object is expected"),
        (
            '{"head": "h", "patience": {"close": 1}}',
            "unknown setting 'close' in patience; did you mean closed. expected one of ",
        ),
        ('{"head": "h", "patience": {"closed": "1"}}', "patience.closed is '1'; a number"),
        ('{"head": "h", "patience": {"closed": 0}}', "time-out closed is 0.0 s; use over 0"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "overlay.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=complaint):
        load_overlay_settings(path)
