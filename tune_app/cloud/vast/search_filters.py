"""The rules for offers as filters of Vast.ai's search."""

from __future__ import annotations

from typing import Any

from tune_app.cloud.market.rules import OfferRules


def search_filters(rules: OfferRules, *, caps: bool) -> dict[str, dict[str, Any]]:
    """The search's own filters; without the caps, to see what the caps refuse."""
    filters: dict[str, dict[str, Any]] = {
        "gpu_name": {"in": list(rules.gpus)},
        "num_gpus": {"eq": 1},
        "rentable": {"eq": True},
        "verified": {"eq": True},
    }
    if caps:
        filters |= {
            "min_bid": {"lte": rules.max_dollars_per_hour},
            "reliability2": {"gte": rules.min_reliability},
            "disk_space": {"gte": rules.disk_gb},
            "cuda_max_good": {"gte": rules.min_cuda},
            "inet_up_cost": {"lte": rules.max_dollars_per_gb},
            "inet_down_cost": {"lte": rules.max_dollars_per_gb},
        }
    return filters
