"""What a server at Hetzner costs, from the price lists that its API gives. Pure.

Source: https://docs.hetzner.cloud/reference/cloud, server types and pricing: each price is for one
location, an hour and a month, without tax (`net`) and with it (`gross`), as texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Price:
    """Of a server with its IPv4 address, which has a price of its own. In euros."""

    per_month: float
    """With tax."""
    per_hour: float | None
    """Without tax; None if the lists do not say."""


def price_of(
    server: Iterable[Mapping[str, Any]], pricing: Mapping[str, Any], location: str
) -> Price | None:
    """The price in a location; None if a list does not have that location.

    Args:
        server: the prices of the server's type.
        pricing: the project's price list.

    Raises ValueError, KeyError, TypeError or StopIteration for lists that make no sense, or are
    not in euros.
    """
    if pricing["currency"] != "EUR":
        raise ValueError("prices in another currency")
    address = next(item for item in pricing["primary_ips"] if item["type"] == "ipv4")
    both = [
        price
        for prices in (server, address["prices"])
        for price in prices
        if price["location"] == location
    ]
    if len(both) != 2:
        return None
    months = [_euros(price["price_monthly"]["gross"]) for price in both]
    hours = [price.get("price_hourly", {}).get("net") for price in both]
    known = all(hour is not None for hour in hours)
    return Price(per_month=sum(months), per_hour=sum(map(_euros, hours)) if known else None)


def _euros(text: Any) -> float:
    euros = float(text)
    if not (math.isfinite(euros) and euros > 0):
        raise ValueError("no price")
    return euros
