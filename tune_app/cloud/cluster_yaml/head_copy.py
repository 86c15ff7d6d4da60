"""The copy of a cluster's YAML that its head gets. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tune_app.cloud.cluster_yaml.records import HETZNER, HeadMachine
from tune_app.cloud.head_paths import CODE, OVERLAY_FOLDER, TOOLS, UPDATER_AGENT, UPDATER_PUBLIC

WORKER_ACCESS = {
    "key": str(UPDATER_PUBLIC),
    "agent": str(UPDATER_AGENT),
    "known_hosts": str(OVERLAY_FOLDER / "known_workers"),
}
"""Where the head has what leads to workers: see `tune_app.cloud.overlay.access`."""
RAY_TOKEN = "~/.ray/auth_token"
"""On the head and on workers."""


def with_machine(cluster_config: Mapping[str, Any], machine: HeadMachine) -> dict[str, Any]:
    """The YAML with the head that there is, in the place of how one is made."""
    config = copy.deepcopy(dict(cluster_config))
    head = config["provider"]["head"]
    for name in ("create", HETZNER):
        head.pop(name, None)
    head |= {"address": machine.address, "port": machine.port}
    if machine.dollars_per_hour is not None:
        head["dollars_per_hour"] = machine.dollars_per_hour
    return config


def head_config(cluster_config: Mapping[str, Any], machine: HeadMachine) -> dict[str, Any]:
    """The YAML without what only holds on the user's machine."""
    config = with_machine(cluster_config, machine)
    provider = config["provider"]
    provider["on_head"] = True
    for name in ("socket", "_config_cache_path"):
        provider.pop(name, None)
    for name in ("key", "known_hosts"):
        provider["head"].pop(name, None)
    provider.setdefault("workers", WORKER_ACCESS)
    # From the head to workers: the program, its tools, and what lets a node into this Ray cluster.
    config["file_mounts"] |= {
        str(CODE): str(CODE),
        str(TOOLS): str(TOOLS),
        RAY_TOKEN: RAY_TOKEN,
    }
    return config
