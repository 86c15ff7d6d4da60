"""What markets offer, rent and charge. Dollars, hours, gigabytes, megabits/s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HOURS_PER_MONTH = 720.0
"""As in Vast.ai's example of a storage price; 730 would count 1.4 % too little."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One machine, or a part of one, that can be rented now."""

    id: int
    machine_id: int
    gpu_name: str
    num_gpus: int
    gpu_ram_gb: float
    cpus: float
    ram_gb: float
    disk_gb: float
    minimum_bid: float
    """$/h for the whole offer, without storage."""
    storage_per_gb_month: float
    upload_per_gb: float
    download_per_gb: float
    download_mbps: float
    reliability: float
    """0 … 1."""
    cuda: float
    """The newest CUDA version that the host's driver runs."""
    hours_left: float
    """Until the host takes its machine back."""
    benchmark: float = 0.0
    """The market's own figure of the GPU's speed, comparable among its offers; 0 if it has none."""


@dataclass(frozen=True, kw_only=True)
class Quote:
    """What a stay on an offer would cost, in dollars."""

    offer: Offer
    bid: float
    storage_per_hour: float
    bandwidth_per_hour: float
    setup: float
    """The set-up's downloads, once."""
    per_unit: float
    """Dollars for one token/s, over an hour."""
    speed: str = ""
    """Where the GPU's speed is from."""

    @property
    def per_hour(self) -> float:
        return self.bid + self.storage_per_hour + self.bandwidth_per_hour


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A contract: it exists, and is billed, in any state.

    Only its number is sure to be there: while an instance is created, and in an answer that is odd
    in one place, other values are missing.
    """

    id: int
    machine_id: int
    """0 if it is not told."""
    label: str
    """Empty if it has none."""
    status: str
    """`actual_status`: running, loading, offline …; empty before the host has answered."""
    intended: str
    current: str
    next: str
    message: str
    is_bid: bool | None
    """None if it is not told."""
    dollars_per_hour: float | None
    """`dph_total`: the GPU's price, the storage's, and any fee; None if it is not told."""
    gpu_name: str
    cpus: float
    disk_gb: float
    storage_per_gb_month: float
    public_address: str
    proxy_host: str
    proxy_port: int | None
    ports: Mapping[str, int] = field(default_factory=dict)
    """From "22/tcp" to the port outside; only while it runs."""
    gpu_dollars_per_hour: float | None = None
    """Of `dollars_per_hour`, the GPU's alone: what was bid; None if it is not told."""
    fee_per_hour: float = 0.0
    """Of `dollars_per_hour`, the market's own fee, as far as it is listed by itself."""
    started: float | None = None
    """When it was created, by the market's clock: seconds since 1970; None if it is not told."""

    @property
    def is_stopped(self) -> bool:
        """Stopped for good: outbid, or by hand. The two look the same."""
        return self.current == self.intended == self.next == "stopped"

    @property
    def storage_per_hour(self) -> float:
        return self.disk_gb * self.storage_per_gb_month / HOURS_PER_MONTH


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What the account paid for one contract in the days that were asked for."""

    contract: int
    dollars: float
    parts: Mapping[str, float]
    """By kind: gpu, disk, bandwidth …"""
    label: str = ""
    """The instance's; empty if the market does not say it."""
