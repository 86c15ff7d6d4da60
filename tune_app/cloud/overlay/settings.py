"""The overlay's settings: where the head is, and which users log in there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tune_app.cloud.overlay.addresses import HEAD, LAST, NETWORK, Ports
from tune_app.cloud.overlay.verdicts import LinkPatience
from tune_app.cloud.settings_reader import load_json

LIFE_HOURS = 72.0

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_NETWORK = re.compile(r"127\.\d{1,3}\.\d{1,3}")
_FOLDER = re.compile(r"/[A-Za-z0-9._/-]{1,99}")


@dataclass(frozen=True, kw_only=True)
class OverlaySettings:
    """Raises ValueError for values that OpenSSH's configuration could not hold."""

    head: str
    """Name or address at which workers reach the head."""
    port: int = 7722
    """Of the head's second SSH server, which serves workers alone."""
    link_user: str = "stellux-link"
    """The user of workers' links: no shell, forwards only."""
    store_user: str = "stellux-store"
    """The user of workers' checkpoints: SFTP in `store_root` only."""
    store_root: str = "/srv/stellux"
    """What the store's user sees as /; root must own it and the folders above it."""
    gcs_port: int = 6379
    last_k: int = 17
    between_workers: bool = False
    """Whether workers reach each other, for programs whose nodes exchange objects or start tasks on
    each other. A sweep's do not. Each worker then listens at 18 ports for every other one."""
    life_hours: float = LIFE_HOURS
    """An instance that is older ends itself, whatever the head says."""
    network: str = NETWORK
    worker_network: str = NETWORK
    """The worker's name for `network`; different only if both share one machine."""
    worker_folder: str = "/root/.stellux"
    """Of keys and logs on the worker."""
    pause_s: int = 2
    """Before a worker dials again."""
    alive_interval_s: int = 15
    """Between two questions whether the other end of a link is alive."""
    alive_count: int = 16
    """Questions without an answer after which it counts as gone."""
    patience: LinkPatience = field(default_factory=LinkPatience)
    """When a worker counts as lost whose link is closed or silent."""

    def __post_init__(self) -> None:
        for what, text, pattern in (
            ("head's address", self.head, _HOST),
            ("links' user", self.link_user, _USER),
            ("store's user", self.store_user, _USER),
            ("store's root", self.store_root, _FOLDER),
            ("worker's folder", self.worker_folder, _FOLDER),
            ("network", self.network, _NETWORK),
            ("worker's network", self.worker_network, _NETWORK),
        ):
            if not pattern.fullmatch(text):
                raise ValueError(f"the {what} is {text[:80]!r}; it must match {pattern.pattern}")
        for folder in (self.store_root, self.worker_folder):
            if ".." in PurePosixPath(folder).parts:
                raise ValueError(f"the folder {folder!r} goes up; name it without ..")
        if not HEAD < self.last_k <= LAST:
            raise ValueError(f"the last node is {self.last_k}; it must be {HEAD + 1} to {LAST}")
        blocks = range(Ports(HEAD).node_manager, Ports(LAST).node_manager + 100)
        for what, port in (("SSH server's port", self.port), ("GCS's port", self.gcs_port)):
            if not 0 < port < 65_536 or port in blocks:
                raise ValueError(
                    f"the {what} is {port}; it must be 1 to 65535, outside the nodes' own "
                    f"{blocks.start} to {blocks.stop - 1}"
                )
        if self.port == self.gcs_port:
            raise ValueError(f"the SSH server and the GCS share port {self.port}; choose two")
        if not 1 <= self.life_hours <= 24 * 365:
            raise ValueError(
                f"life_hours is {self.life_hours!r}; an instance may live for 1 to {24 * 365} hours"
            )
        if min(self.pause_s, self.alive_interval_s, self.alive_count) < 1:
            raise ValueError("a pause, an interval or a count is under 1; it must be 1 or more")

    @property
    def workers(self) -> range:
        """The numbers that workers may have."""
        return range(HEAD + 1, self.last_k + 1)

    def check_worker(self, k: int) -> None:
        """Raises ValueError for a number that no worker here can have."""
        if isinstance(k, bool) or k not in self.workers:
            raise ValueError(
                f"the worker's number is {k!r}; it must be {self.workers.start} to {self.last_k}: "
                "raise last_k, or give the daemon the same last_k"
            )


def load_overlay_settings(path: Path) -> OverlaySettings:
    """Settings from a JSON file. Raises ValueError naming the file and what is wrong in it."""
    return load_json(OverlaySettings, path)
