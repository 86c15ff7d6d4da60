"""Keys of workers: created, admitted, and revoked. The daemon's `WorkerSetup`."""

from __future__ import annotations

import logging
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from tune_app.cloud.market.instance_request import WorkerStart
from tune_app.cloud.market.labels import Label
from tune_app.cloud.overlay.addresses import HEAD, Ports, address
from tune_app.cloud.overlay.authorized import AuthorizedKeys, link_line, store_line
from tune_app.cloud.overlay.dead_mans_switch import NO_ENDING
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.overlay.sshd_config import AUTHORIZED, HOST_KEY, openssh_version
from tune_app.cloud.overlay.worker_script import HOST_KEY as HOST_KEY_NAME
from tune_app.cloud.overlay.worker_script import (
    LINK_KEY,
    STORE_KEY,
    in_halves,
    known_hosts_line,
    worker_script,
)
from tune_app.cloud.secrets.ssh_keys import KeyPair, key_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OverlayFiles:
    """The files in the overlay's folder on the head."""

    folder: Path

    @property
    def host_key(self) -> Path:
        """Of the head's second SSH server."""
        return self.folder / HOST_KEY

    @property
    def updater_key(self) -> Path:
        """With which the head logs in on workers; it never leaves the head."""
        return self.folder / "updater_key"

    @property
    def store_key(self) -> Path:
        """With which the head comes to the store, as workers with theirs."""
        return self.folder / "store_key"

    @property
    def known_workers(self) -> Path:
        """The host keys of workers' SSH servers, as OpenSSH's clients read them."""
        return self.folder / "known_workers"

    def authorized(self, user: str) -> Path:
        return self.folder / AUTHORIZED / user


class OverlaySetup:
    """Gives each worker keys of its own, and takes them back. Thread-safe.

    Args:
        folder: of the head's keys and of the admitted ones; see `OverlayFiles`.
        ending: how an instance ends itself: see `dead_mans_switch`.

    Raises ValueError if something else is there, OSError if it cannot be written.
    """

    def __init__(self, settings: OverlaySettings, folder: Path, *, ending: str = NO_ENDING) -> None:
        self.settings = settings
        self._ending = ending
        self.files = OverlayFiles(folder.absolute())
        # Its own keys are private, but the users who log in must be able to read their line.
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        (folder / AUTHORIZED).mkdir(exist_ok=True, mode=0o755)
        self._head = key_file(self.files.host_key)
        self._updater = key_file(self.files.updater_key)
        self._store = key_file(self.files.store_key)
        self._links = AuthorizedKeys(self.files.authorized(settings.link_user))
        self._stores = AuthorizedKeys(self.files.authorized(settings.store_user))
        self._workers = AuthorizedKeys(self.files.known_workers)
        self._lock = threading.Lock()

    def prepare(self, start: WorkerStart, label: Label) -> WorkerStart:
        """Three new pairs for worker k, which revoke its earlier ones.

        Raises ValueError for a k outside the overlay's and a start script that is too long, OSError
        where the keys cannot be written.
        """
        k = label.k
        script = worker_script(
            self.settings,
            k,
            head_public=self._head.public,
            updater_public=self._updater.public,
            then=start.onstart,
            ending=self._ending,
        )
        link, store, host = KeyPair.new(), KeyPair.new(), KeyPair.new()
        with self._lock:
            self._workers.put(k, known_worker_line(self.settings, k, host.public))
            self._stores.put(k, store_line(self.settings, k, store.public))
            self._links.put(k, link_line(self.settings, k, link.public))
        own = {
            "STELLUX_K": str(k),
            "STELLUX_LABEL": label.text,
            **in_halves(LINK_KEY, link.private),
            **in_halves(STORE_KEY, store.private),
            **in_halves(HOST_KEY_NAME, host.private),
        }
        return WorkerStart(onstart=script, env={**start.env, **own})

    def revoke(self, k: int) -> None:
        """Worker k's keys open nothing any more. A link that is open is ended by the keeper."""
        with self._lock:
            for file in (self._links, self._stores, self._workers):
                file.remove(k)
        logger.info("worker %d's keys are revoked", k)

    def let_head_in(self) -> None:
        """Admits the head itself to the store, with its newest key alone."""
        with self._lock:
            self._stores.put(HEAD, store_line(self.settings, HEAD, self._store.public))

    @property
    def known_hosts(self) -> str:
        """The known_hosts line of the head, for workers and for itself."""
        return known_hosts_line(self.settings, self._head.public)

    @property
    def updater_public(self) -> str:
        """The public half of the key with which the head logs in on workers."""
        return self._updater.public


def installed_openssh() -> tuple[int, int] | None:
    """The version of OpenSSH on this machine; None if it is not known."""
    try:
        said = subprocess.run(
            ["ssh", "-V"], check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("the version of OpenSSH is not known: %s", error)
        return None
    return openssh_version(said.stderr.decode("ascii", errors="replace"))


def known_worker_line(settings: OverlaySettings, k: int, public: str) -> str:
    """The known_hosts line of worker k's own SSH server."""
    return f"[{address(k, settings.network)}]:{Ports(k).sshd} {public} stellux-{k}"


def updater_config(settings: OverlaySettings, known_workers: Path, *, key: Path, user: str) -> str:
    """Blocks of an ssh_config with which the head's programs reach workers by address.

    Args:
        known_workers: see `OverlayFiles`.
        key: a copy of the updater's key which their user may read.
        user: on the workers.
    """
    lines = []
    for k in settings.workers:
        lines += [f"Host {address(k, settings.network)}", f"    Port {Ports(k).sshd}"]
    lines += [
        f"Host {' '.join(address(k, settings.network) for k in settings.workers)}",
        f"    User {user}",
        f"    IdentityFile {key}",
        "    IdentitiesOnly yes",
        f"    UserKnownHostsFile {known_workers}",
        "    GlobalKnownHostsFile /dev/null",
        "    HostKeyAlgorithms ssh-ed25519",
        "    StrictHostKeyChecking yes",
    ]
    return "\n".join(lines) + "\n"
