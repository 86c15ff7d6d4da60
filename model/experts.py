"""The settings of a feed-forward with experts, and what is possible. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from model.parts.feed_forwards import FEED_FORWARDS, has_experts

EXPERT_COUNTS = ("n_experts", "top_k", "shared_experts")
EXPERT_SETTINGS = (*EXPERT_COUNTS, "balance_weight", "router_z_weight")

EXPERT_DEFAULTS: Mapping[str, Any] = {
    "shared_experts": 0,
    "balance_weight": 0.01,
    "router_z_weight": 0.001,
}
"""What None means for a feed-forward with experts. The weights are those of Fedus et al., 2022,
"Switch Transformers", and of Zoph et al., 2022, "ST-MoE"."""


class _Owner(Protocol):
    @property
    def feed_forward(self) -> str: ...
    @property
    def n_experts(self) -> int | None: ...
    @property
    def top_k(self) -> int | None: ...


def check_experts(owner: _Owner) -> None:
    """Raises ValueError for settings of experts that are impossible, or that nothing would read."""
    if not has_experts(owner.feed_forward):
        given = [name for name in EXPERT_SETTINGS if getattr(owner, name) is not None]
        if given:
            of = " or ".join(name for name in FEED_FORWARDS if has_experts(name))
            raise ValueError(
                f"{given[0]} is {getattr(owner, given[0])!r}, but the feed-forward "
                f"{owner.feed_forward!r} has no experts; leave it out, or set feed_forward to {of}"
            )
        return
    if owner.n_experts is None or owner.top_k is None:
        raise ValueError(
            f"the feed-forward {owner.feed_forward!r} needs n_experts and top_k; set both, for "
            "example to 8 and 2"
        )
    for name in EXPERT_SETTINGS:
        _check_number(name, getattr(owner, name))
    if owner.top_k > owner.n_experts:
        raise ValueError(
            f"top_k is {owner.top_k}, but there are only {owner.n_experts} experts; take a top_k "
            f"of at most {owner.n_experts}, or more experts"
        )


def _check_number(name: str, value: Any) -> None:
    if value is None:
        return
    whole, least = name in EXPERT_COUNTS, 1 if name in {"n_experts", "top_k"} else 0
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value < math.inf:
        number = "a whole number" if whole else "a finite number"
        raise ValueError(f"{name} is {value!r}; it must be {number} of at least {least}")
