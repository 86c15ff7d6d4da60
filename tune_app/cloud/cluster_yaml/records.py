"""What a cluster's YAML says to the node provider: each name, its type, default and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tune_app.cloud.hetzner.settings import HetznerSettings
from tune_app.cloud.market.access import VAST, MarketAccess
from tune_app.cloud.node.settings import HeadSettings
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.renting.settings import CloudSettings

UNSET_ADDRESS = "YOUR-VPS"
"""The placeholder in `cluster.yaml` until a user writes an address."""
HETZNER = "hetzner"
"""Where a head can be made."""
HEAD_DOLLARS_MOST = 2.0
"""An hour of a head: more than one costs that only has to drive a sweep, and less than a month of
the cheapest VPS, which is the mistake that is easily made."""
ANSWER_S = 58.0
"""Within this time a request to rent is answered; the daemon answers in 55 s."""


@dataclass(frozen=True, kw_only=True)
class HeadMachine:
    """The machine that `ray up` turns into the head. Raises ValueError if it is not named."""

    address: str
    port: int = 22
    key: str = ""
    """File of the SSH key on the user's machine; it is never copied."""
    dollars_per_hour: float | None = None
    """What it costs, for the sweeps that run on it: a monthly price is divided by 720. None if it
    is not to be counted. The cap never counts it."""
    open_ports: str = ""
    """Other ports that it serves, as `80/tcp 51820/udp`; the firewall closes all others."""
    known_hosts: str = ""
    """File with its host key on the user's machine; empty for the user's own."""
    user: str = ""
    """Who logs in there; written by `StelluxNodeProvider.bootstrap_config`, from auth.ssh_user."""
    node_type: str = "head"
    launch_hash: str = ""
    """Ray's hash of the head's configuration: see `StelluxNodeProvider.bootstrap_config`."""

    def __post_init__(self) -> None:
        if not self.address.strip() or self.address == UNSET_ADDRESS:
            raise ValueError(
                f"address is {self.address!r}; write the name or address of the machine that is "
                "to be the head"
            )
        if not 0 < self.port < 65_536:
            raise ValueError(f"port is {self.port}; it must be 1 to 65535")
        price = self.dollars_per_hour
        if price is not None and not 0 <= price <= HEAD_DOLLARS_MOST:
            raise ValueError(
                f"dollars_per_hour is {price!r}; it must be 0 to {HEAD_DOLLARS_MOST:g}: write the "
                "price of one hour in dollars, a monthly one divided by 720"
            )


@dataclass(frozen=True, kw_only=True)
class HeadToCreate:
    """A head that `ray up` makes at Hetzner, and `ray down` deletes."""

    hetzner: HetznerSettings
    create: str = HETZNER
    key: str = ""
    """File of the SSH key on the user's machine; empty for what belongs to the public one."""
    user: str = ""
    node_type: str = "head"
    launch_hash: str = ""

    def __post_init__(self) -> None:
        if self.create != HETZNER:
            raise ValueError(f"create is {self.create!r}; it can be {HETZNER}")


@dataclass(frozen=True, kw_only=True)
class HeadRole:
    """What the head's installer has to know that no program there has among its settings."""

    cluster: str
    node_type: str
    """The head's, in Ray's words."""
    open_ports: str = ""
    """See `HeadMachine.open_ports`."""


@dataclass(frozen=True, kw_only=True)
class WorkerAccess:
    """How the head's programs log in on workers: see `tune_app.cloud.overlay.setup`."""

    key: str
    """A file of the key; its public half where an agent holds it."""
    known_hosts: str
    """The file of workers' host keys; no other host is contacted."""
    agent: str = ""
    """The socket of an agent that holds the key; empty where the file has it."""
    user: str = "root"


@dataclass(frozen=True, kw_only=True)
class ProviderSection:
    """The YAML's `provider` as it stands there; other records say what its sections hold.

    Besides, it has a section with the market's name, which says what may be rented. Raises
    ValueError for invalid values.
    """

    head: Mapping[str, Any] = field(default_factory=dict)
    """`HeadMachine`, or `HeadToCreate`."""
    market: str = VAST
    """Where workers are rented; the section of this name is `CloudSettings`."""
    overlay: Mapping[str, Any] | None = None
    """`OverlaySettings`."""
    ray: Mapping[str, Any] | None = None
    """`HeadSettings`."""
    workers: WorkerAccess | None = None
    """Used on the head; without it, no command is run on a worker."""
    on_head: bool = False
    """Set in the copy of the YAML that `ray up` puts on the head."""
    socket: Path | None = None
    """Of the daemon; None for the usual place."""
    answer_s: float = ANSWER_S
    looks_apart_s: float = 60.0
    """Between the two checks that must find nothing before `ray down` ends."""

    def __post_init__(self) -> None:
        if not 0 < self.answer_s <= 60:
            raise ValueError(f"answer_s is {self.answer_s!r}; it must be over 0 and at most 60 s")
        if self.looks_apart_s < 0:
            raise ValueError(f"looks_apart_s is {self.looks_apart_s!r}; it must be 0 s or more")


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """A cluster's YAML, read."""

    cluster: str
    section: ProviderSection
    head: HeadMachine | HeadToCreate
    overlay: OverlaySettings
    ray: HeadSettings
    rented: CloudSettings | None
    """None where nothing is said of what may be rented."""

    @property
    def market(self) -> MarketAccess:
        return (
            MarketAccess(market=self.section.market)
            if self.rented is None
            else (self.rented.access)
        )

    @property
    def socket(self) -> Path | None:
        return None if self.section.socket is None else self.section.socket.expanduser()
