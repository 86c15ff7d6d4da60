"""Which market is asked, how its API is reached, and how patiently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VAST = "vast"
"""The market of a cluster that names none."""


@dataclass(frozen=True, kw_only=True)
class MarketAccess:
    """Empty and None stand for the market's own."""

    market: str = VAST
    base_url: str = ""
    seconds_between: Mapping[str, float] | None = None
    """Between two calls of an endpoint."""
    pace_margin_s: float = 0.1
    """Added to each of these."""
    timeout_s: float = 20.0
    retry_s: float = 2.0
    """Pause before a call that may be repeated is sent again."""
