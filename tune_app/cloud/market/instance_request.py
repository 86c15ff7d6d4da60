"""What a market is asked for when a machine is rented, and how the machine starts.

The limits are those of the tightest market, which is Vast.ai so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAXIMUM_LABEL = 256
MAXIMUM_START = 4_048
"""Of the start script. Vast.ai's documents say 4,048 in one place and 4,096 in another."""
MAXIMUM_VARIABLE = 256
"""Of a variable of the environment."""
MINIMUM_DISK_GB = 8


@dataclass(frozen=True, kw_only=True)
class WorkerStart:
    """What an instance is given to start with."""

    onstart: str = ""
    """Shell script that the instance runs as it starts."""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class InstanceRequest:
    """What to create. Raises ValueError for what a market would refuse."""

    offer_id: int
    bid: float
    """$/h for the machine. Without one, the API would silently rent on demand."""
    label: str
    image: str
    disk_gb: float
    start: WorkerStart = field(default_factory=WorkerStart)

    def __post_init__(self) -> None:
        if not self.bid > 0:
            raise ValueError(f"the bid is {self.bid!r} $/h; it must be over 0")
        if not 0 < len(self.label) <= MAXIMUM_LABEL:
            raise ValueError(
                f"the label has {len(self.label)} characters; expected 1 to {MAXIMUM_LABEL}: "
                "shorten the cluster's or the node type's name"
            )
        if self.disk_gb < MINIMUM_DISK_GB:
            raise ValueError(
                f"the disk has {self.disk_gb:g} GB; it must have {MINIMUM_DISK_GB} GB or more"
            )
        check_start_script(self.start.onstart)
        for name, value in self.start.env.items():
            if len(value) > MAXIMUM_VARIABLE:
                # Not the value: it may be a key.
                raise ValueError(
                    f"the variable {name} has {len(value)} characters; at most {MAXIMUM_VARIABLE} "
                    "are allowed: split it, or let the start script fetch it"
                )


def check_start_script(text: str) -> None:
    """Raises ValueError for a start script that is too long."""
    if len(text) > MAXIMUM_START:
        raise ValueError(
            f"the start script has {len(text):,} characters; at most {MAXIMUM_START:,} are "
            "allowed: let it fetch the rest"
        )
