"""What people call a market, and where they look after what they have there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MarketSite:
    """The names and pages of a market that messages send a person to."""

    name: str
    """As people call it."""
    instances: str
    """The page that shows what an account has rented, and ends it."""
    keys: str
    """The page on which an account's keys are made, and made invalid."""
    charges_scope: str
    """The permission that a key needs to see what was charged, as that page calls it."""
