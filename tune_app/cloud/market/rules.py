"""Which offers are acceptable: caps, and what a stay is expected to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tune_app.cloud.market.gpu_speeds import SPEEDS
from tune_app.cloud.market.instance_request import MINIMUM_DISK_GB


@dataclass(frozen=True, kw_only=True)
class OfferRules:
    """Caps and expectations. Raises ValueError for rules that no offer could meet."""

    gpus: tuple[str, ...] = ("RTX 3090", "RTX 4090")
    """Accepted models, by Vast.ai's names."""
    speeds: Mapping[str, float] = field(default_factory=lambda: SPEEDS)
    """Training speed of each model, in any common unit."""
    max_dollars_per_hour: float = 0.40
    """Bid and storage together."""
    min_reliability: float = 0.98
    disk_gb: float = 40.0
    max_dollars_per_gb: float = 0.02
    """Of bandwidth, each way."""
    min_cuda: float = 12.8
    """What the image needs of the host's driver."""
    min_cpus: float = 4.0
    min_ram_gb: float = 16.0
    min_hours_left: float = 12.0
    bid_factor: float = 1.2
    """The bid as a multiple of the lowest one that would win now."""
    stay_hours: float = 6.0
    """How long a worker is expected to stay."""
    setup_hours: float = 0.1
    """Without the downloads."""
    setup_gb: float = 10.0
    """Image, packages and data, downloaded once."""
    download_gb_per_hour: float = 0.5
    upload_gb_per_hour: float = 1.5

    def __post_init__(self) -> None:
        unknown = [name for name in self.gpus if name not in self.speeds]
        if not self.gpus or unknown:
            raise ValueError(
                f"the GPU models are {', '.join(map(repr, self.gpus)) or 'none'}; "
                f"each needs a speed: known are {', '.join(sorted(self.speeds))}"
            )
        if not all(speed > 0 for speed in self.speeds.values()):
            raise ValueError("every GPU model's speed must be over 0")
        if self.bid_factor < 1:
            raise ValueError(
                f"the bid's factor is {self.bid_factor:g}; below 1 a bid never wins: use 1 or more"
            )
        if self.disk_gb < MINIMUM_DISK_GB:
            raise ValueError(
                f"the disk has {self.disk_gb:g} GB; it must have {MINIMUM_DISK_GB} GB or more"
            )
        if not self.max_dollars_per_hour > 0:
            raise ValueError(
                f"the price cap is {self.max_dollars_per_hour!r} $/h; it must be over 0"
            )
        if not self.stay_hours > self.setup_hours >= 0:
            raise ValueError(
                f"a stay of {self.stay_hours:g} h with {self.setup_hours:g} h of set-up trains "
                "nothing; expect a longer stay"
            )
