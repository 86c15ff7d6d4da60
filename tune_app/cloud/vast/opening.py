"""Vast.ai as a market that a cluster may name."""

from __future__ import annotations

from collections.abc import Callable

from tune_app.cloud.market.access import MarketAccess
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.vast.client import BASE_URL, VastClient
from tune_app.cloud.vast.ending import ending
from tune_app.cloud.vast.rate_limit import SECONDS_BETWEEN, RateLimit


def open_vast(key: ApiKey, access: MarketAccess, heard: Callable[[float], None]) -> VastClient:
    """A client of the account with this key. Raises ValueError for a URL that could be read."""
    between = SECONDS_BETWEEN if access.seconds_between is None else access.seconds_between
    return VastClient(
        key,
        base_url=access.base_url or BASE_URL,
        rate_limit=RateLimit(between, margin_s=access.pace_margin_s),
        timeout_s=access.timeout_s,
        retry_s=access.retry_s,
        heard=heard,
    )


def end_at_vast(access: MarketAccess) -> str:
    """Shell functions `destroy` and `stop` with which an instance ends itself."""
    return ending(access.base_url or BASE_URL)
