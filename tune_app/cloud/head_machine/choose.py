"""The machine that is the cluster's head, from the user's machine: one that exists, or is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import yaml

from tune_app.cloud.cluster_yaml.records import HeadMachine, HeadToCreate, ProviderSettings
from tune_app.cloud.cluster_yaml.settings import read_settings
from tune_app.cloud.errors import CloudError
from tune_app.cloud.head.remote import has_account_key, release, shell_of
from tune_app.cloud.head.shell import HeadShell
from tune_app.cloud.head_machine.created import CreatedHead
from tune_app.cloud.market.site import MarketSite
from tune_app.cloud.open_market import site_of

Say = Callable[[str], object]


class Head(Protocol):
    """Methods raise ValueError and OSError for what a user can mend."""

    def find(self) -> HeadMachine | None:
        """The machine; None if it certainly does not exist."""
        ...

    def check_absence(self) -> None:
        """Raises CloudError if there is no machine although there should be one."""
        ...

    def make(self, say: Say) -> HeadMachine:
        """The machine, reachable by SSH with a known host key; created if missing."""
        ...

    def never_rented(self) -> bool:
        """Whether it certainly has rented nothing: it has no key (any more)."""
        ...

    def end(self, say: Say) -> None:
        """The last step of `ray down`, when nothing is rented any more."""
        ...

    def leave(self, error: OSError, say: Say) -> None:
        """The last step where it could not be reached, for this error. Raises it if it bills."""
        ...


class GivenHead:
    """A machine that the user has: `ray down` releases it, and it stays."""

    def __init__(self, machine: HeadMachine, site: MarketSite) -> None:
        """
        Args:
            site: of the market where its workers are rented.
        """
        self._machine = machine
        self._site = site
        self._has_key: bool | None = None

    def find(self) -> HeadMachine:
        return self._machine

    def check_absence(self) -> None:
        return

    def make(self, say: Say) -> HeadMachine:
        return self._machine

    def never_rented(self) -> bool:
        if self._has_key is None:
            self._has_key = has_account_key(shell_of(self._machine))
        return not self._has_key

    def end(self, say: Say) -> None:
        release(shell_of(self._machine))

    def leave(self, error: OSError, say: Say) -> None:
        say(
            f"{error}. No worker of this cluster is rented any more, but the head was not "
            f"released: its services and its copy of the {self._site.name} key are still on it. If "
            "it comes back it may rent again: run ray down again then, or make the key invalid on "
            f"{self._site.keys}"
        )


def head_of(settings: ProviderSettings) -> Head:
    """The head of a cluster's YAML."""
    if isinstance(settings.head, HeadToCreate):
        return CreatedHead(
            settings.head,
            settings.cluster,
            store_root=settings.overlay.store_root,
            market=settings.market,
        )
    return GivenHead(settings.head, site_of(settings.market))


def found(head: Head) -> HeadMachine:
    """Raises CloudError if there is none."""
    machine = head.find()
    if machine is None:
        head.check_absence()
        raise CloudError("the cluster has no head; make one with: ray up cluster.yaml")
    return machine


def read_cluster(path: Path) -> tuple[ProviderSettings, str]:
    """What a cluster's YAML says, and who logs in on its head. Raises ValueError for none."""
    with _read(path) as config:
        user = str(config["auth"]["ssh_user"])
        return read_settings(config["provider"], config["cluster_name"]), user


@contextmanager
def _read(path: Path) -> Iterator[Any]:
    try:
        yield yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a cluster's YAML: {error!r}") from error


def read_shell(path: Path) -> HeadShell:
    """The way to the head of a cluster's YAML. Raises CloudError if there is none."""
    settings, user = read_cluster(path)
    return shell_of(found(head_of(settings)), user)
