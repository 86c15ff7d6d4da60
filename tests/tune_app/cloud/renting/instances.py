"""An instance as a market lists it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tune_app.cloud.market.records import Instance

_RUNNING = Instance(
    id=7,
    machine_id=9,
    label="",
    status="running",
    intended="running",
    current="running",
    next="running",
    message="",
    is_bid=True,
    dollars_per_hour=0.25,
    gpu_name="RTX 4090",
    cpus=8.0,
    disk_gb=40.0,
    storage_per_gb_month=0.0,
    public_address="",
    proxy_host="",
    proxy_port=None,
)


def running(**values: Any) -> Instance:
    """One that runs on a spot machine, with these values over its own."""
    return replace(_RUNNING, **values)
