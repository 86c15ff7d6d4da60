"""What is asked of the API when something is rented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MAXIMUM_LABEL = 256
MAXIMUM_START = 4_096
MINIMUM_DISK_GB = 8


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to create. Raises ValueError for what the API would refuse."""

    offer_id: int
    bid: float
    """$/h for the machine. Without one, the API would silently rent on demand."""
    label: str
    image: str
    disk_gb: float
    onstart: str = ""
    env: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.bid > 0:
            raise ValueError(f"the bid is {self.bid!r} $/h; it must be over 0")
        if not 0 < len(self.label) <= MAXIMUM_LABEL:
            raise ValueError(
                f"the label has {len(self.label)} characters; 1 to {MAXIMUM_LABEL} are allowed: "
                "shorten the cluster's or the node type's name"
            )
        if self.disk_gb < MINIMUM_DISK_GB:
            raise ValueError(f"the disk has {self.disk_gb:g} GB; ask for {MINIMUM_DISK_GB} or more")
        if len(self.onstart) > MAXIMUM_START:
            raise ValueError(
                f"the start script has {len(self.onstart):,} characters; {MAXIMUM_START:,} are "
                "allowed: let it fetch the rest"
            )
