"""The daemon's settings: what to rent, where, for how much, and its time-outs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from tune_app.cloud.market.access import VAST, MarketAccess
from tune_app.cloud.market.instance_request import WorkerStart, check_start_script
from tune_app.cloud.market.labels import checked_name
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.settings_reader import load_json


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Time-outs, in seconds. Raises ValueError for one that is not over 0."""

    loading: float = 900.0
    """An instance that does not run by then is destroyed and its machine avoided."""
    lost: float = 120.0
    """A worker that shows no activity, and whose link is closed, is destroyed after this."""
    http: float = 20.0
    """For connecting, for an answer's first byte, and for its rest."""
    retry: float = 2.0
    """Pause before a call that may be repeated is sent again."""
    create: float = 55.0
    """Within this time a request to rent is answered, one way or the other."""
    look: float = 20.0
    """How long a request with an unknown outcome looks for its label before it answers."""
    look_every: float = 3.0
    settle: float = 180.0
    """An instance that is not listed by then was not rented."""
    poll: float = 15.0
    """Between two lists of all instances."""
    fresh: float = 20.0
    """A list of instances up to this age is used again."""
    backoff: float = 10.0
    """After the first failed launch; doubles with each."""
    backoff_most: float = 900.0
    avoid: float = 7 * 86_400.0
    """How long a bad machine is avoided."""
    outbid: float = 1_800.0
    """How long a machine is avoided on which somebody else bid more."""
    proved: float = 1_800.0
    """A worker that lasted this long was a good one, however it ends."""
    charges: float = 900.0
    """Between two queries of what was charged."""
    charges_retry: float = 60.0
    """Until the next one after one that failed."""
    charges_stale: float = 3_600.0
    """Nothing is rented on billing data older than this."""
    unasked: float = 900.0
    """Where nobody asks for the list of workers for this long, all are ended."""
    prune: float = 30 * 86_400.0
    """Failed launches, bad machines and drains are forgotten after this."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (isinstance(value, (int, float)) and value > 0):
                raise ValueError(f"the time-out {item.name} is {value!r} s; it must be over 0")
        if self.http + self.look >= self.create:
            raise ValueError(
                f"http is {self.http:g} s, look {self.look:g} s and create {self.create:g} s; a "
                "request must have the time to be sent and looked for: lower http or look"
            )


@dataclass(frozen=True, kw_only=True)
class EndingSettings:
    """How long it takes to save all work and to end all workers. Raises ValueError below 0."""

    save_s: float = 180.0
    """Until all cells are saved, before a drain has measured it."""
    margin: float = 1.5
    """The longest measured time counts this many times."""
    destroy_s: float = 4.0
    """For one worker after another: Vast.ai allows one destruction in 3 s."""
    outage_s: float = 600.0
    """For how long the market's API may be down just then."""
    restart_s: float = 30.0
    """For how long the daemon may be, when it is killed."""
    checkpoint_gb: float = 0.5
    """What one worker sends when its cells save."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
                raise ValueError(f"{item.name} is {value!r}; it must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """A kind of worker."""

    image: str
    rules: OfferRules = field(default_factory=OfferRules)
    onstart: str = ""
    """Shell script that the instance runs as it starts."""
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.image.strip():
            raise ValueError("a node type has no image; name one, as docker pull takes it")
        check_start_script(self.onstart)

    @property
    def start(self) -> WorkerStart:
        return WorkerStart(onstart=self.onstart, env=self.env)


@dataclass(frozen=True, kw_only=True)
class CloudSettings:
    """All of the daemon's settings. Raises ValueError for values that cannot be right."""

    cluster: str
    """Its name, unique within the account."""
    node_types: Mapping[str, NodeType]
    cap_dollars: float
    """What this cluster may spend on rented machines in all, ever. A head bills besides."""
    head_dollars_per_hour: float | None = None
    """What the head costs besides, as provider.head says; None if it does not. In no cap."""
    market: str = VAST
    max_instances: int = 8
    base_url: str = ""
    """Of the market's API; empty for the market's own."""
    patience: Patience = field(default_factory=Patience)
    reserve_hours: float = 0.5
    """A launch must leave money for this many hours of all workers."""
    ending: EndingSettings = field(default_factory=EndingSettings)
    """What is reserved to save all work and to end all workers."""
    on_alert: str = ""
    """Told what needs a person: a webhook's address, which gets {"text": …}, or a command, which
    gets the text as its last argument and runs as the daemon's user."""
    credit_counts: bool = True
    """Whether the fall of the account's credit counts as spent here; false where much else is
    rented with it, whose charges arrive late."""
    price_tolerance: float = 0.05
    """The share by which the price of an instance may exceed the agreed one."""
    launches_per_minute: int = 10
    """At most so many machines are asked for within a minute."""
    offers_per_launch: int = 3
    """How many offers are tried if others take them first."""
    seconds_between: Mapping[str, float] | None = None
    """Seconds between two calls of an endpoint of the market's API; None for its own limits."""
    pace_margin: float = 0.1
    """Seconds added to each of these."""
    first_k: int = 2
    last_k: int = 127

    def __post_init__(self) -> None:
        checked_name("cluster's name", self.cluster)
        for name in self.node_types:
            checked_name("node type's name", name)
        if not self.node_types:
            raise ValueError("no node type; name one with its image")
        if not (math.isfinite(self.cap_dollars) and self.cap_dollars > 0):
            raise ValueError(f"the cap is {self.cap_dollars!r} dollars; it must be a number over 0")
        if self.launches_per_minute < 1:
            raise ValueError(
                f"launches_per_minute is {self.launches_per_minute}; it must be 1 or more"
            )
        if not 0 < self.max_instances <= self.last_k - self.first_k + 1:
            raise ValueError(
                f"{self.max_instances} instances at most; it must be 1 to "
                f"{self.last_k - self.first_k + 1}"
            )

    @property
    def access(self) -> MarketAccess:
        return MarketAccess(
            market=self.market,
            base_url=self.base_url,
            seconds_between=self.seconds_between,
            pace_margin_s=self.pace_margin,
            timeout_s=self.patience.http,
            retry_s=self.patience.retry,
        )

    def node_type(self, name: str) -> NodeType:
        """Raises ValueError for an unknown name."""
        if name not in self.node_types:
            raise ValueError(
                f"unknown node type {str(name)[:80]!r}; expected one of "
                f"{', '.join(self.node_types)}"
            )
        return self.node_types[name]


def load_settings(path: Path) -> CloudSettings:
    """Settings from a JSON file. Raises ValueError naming the file and the place in it."""
    return load_json(CloudSettings, path)
