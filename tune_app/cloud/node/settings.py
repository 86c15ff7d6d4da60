"""Settings of the head's Ray: its cluster, its autoscaler's configuration, its time-outs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tune_app.cloud.market.labels import checked_name
from tune_app.cloud.overlay.addresses import HEAD, LAST, Ports
from tune_app.cloud.settings_reader import load_json

SMALLEST_STORE = 80_000_000
"""Bytes. Ray's own least for its object store is 75 MiB."""


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """Raises ValueError for what could never be meant."""

    cluster: str
    gcs_port: int = 6379
    object_store_bytes: int = 200_000_000
    """The head trains nothing: it holds only the small objects of its drivers."""
    autoscaling_config: str = "~/ray_bootstrap_config.yaml"
    """The cluster's YAML as `ray up` writes it; empty for a Ray without an autoscaler."""
    overlay: str = "/etc/stellux/overlay.json"
    """Settings of the overlay; empty to watch no links."""
    overlay_folder: str = "/var/lib/stellux/overlay"
    """Folder of the files that say which workers are admitted."""
    started: str = "~/.ray/started"
    """File that gets a new id each time Ray has started. In the one folder of the home that Ray's
    unit may write in."""
    temp_dir: str = ""
    """Folder of Ray's sessions; empty for Ray's default, /tmp/ray."""
    start_s: float = 120.0
    """Within which Ray must have started."""
    stop_s: float = 3.0
    """How long Ray's processes have to end after SIGTERM, before SIGKILL.

    They have nothing to save, and the GCS waits for longer than anybody would."""
    look_s: float = 1.0
    """Between two checks of Ray's processes."""
    links_s: float = 2.0
    """Between two checks of the links."""

    def __post_init__(self) -> None:
        checked_name("cluster's name", self.cluster)
        blocks = range(Ports(HEAD).node_manager, Ports(LAST).node_manager + 100)
        if not 0 < self.gcs_port < 65_536 or self.gcs_port in blocks:
            raise ValueError(
                f"the GCS's port is {self.gcs_port}; it must be 1 to 65535, outside the nodes' own "
                f"{blocks.start} to {blocks.stop - 1}"
            )
        if self.object_store_bytes < SMALLEST_STORE:
            raise ValueError(
                f"the object store has {self.object_store_bytes:,} bytes; it must have "
                f"{SMALLEST_STORE:,} or more"
            )
        for name in ("start_s", "stop_s", "look_s", "links_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r} s; it must be over 0")


def load_head_settings(path: Path) -> HeadSettings:
    """Settings from a JSON file. Raises ValueError naming the file and what is wrong in it."""
    return load_json(HeadSettings, path)
