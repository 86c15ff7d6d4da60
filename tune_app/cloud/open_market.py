"""Which market a cluster rents at. A second one is a folder like `vast`, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tune_app.cloud.market.access import VAST, MarketAccess
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.market.site import MarketSite
from tune_app.cloud.secrets.account_key import KeyPlaces, account_key
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.vast.key_places import KEY_PLACES as VAST_KEY_PLACES
from tune_app.cloud.vast.opening import end_at_vast, open_vast
from tune_app.cloud.vast.site import SITE as VAST_SITE


@dataclass(frozen=True, kw_only=True)
class MarketKind:
    """What a market's folder brings."""

    open: Callable[[ApiKey, MarketAccess, Callable[[float], None]], Market]
    """A client of an account, and whom it tells the market's own time."""
    ending: Callable[[MarketAccess], str]
    """Shell functions `destroy` and `stop` with which an instance ends itself."""
    key: KeyPlaces
    """Where a user keeps the key of an account."""
    site: MarketSite
    """What people call it, and its pages."""


MARKETS: Mapping[str, MarketKind] = {
    VAST: MarketKind(open=open_vast, ending=end_at_vast, key=VAST_KEY_PLACES, site=VAST_SITE)
}
"""By the name that `provider.market` gives."""


@contextmanager
def open_market(
    access: MarketAccess, key: ApiKey, *, heard: Callable[[float], None] = lambda _: None
) -> Iterator[Market]:
    """A client of the account with this key. Raises ValueError for an unknown market.

    Args:
        heard: called with the market's own time, whenever an answer tells it.
    """
    market = market_kind(access.market).open(key, access, heard)
    try:
        yield market
    finally:
        market.close()


def key_of(access: MarketAccess, environment: Mapping[str, str], home: Path) -> ApiKey:
    """The key of the user's account at this market. Raises ValueError without one.

    Args:
        environment, home: places to look for it.
    """
    return account_key(market_kind(access.market).key, environment, home)


def site_of(access: MarketAccess) -> MarketSite:
    """The name and the pages of this market. Raises ValueError for an unknown one."""
    return market_kind(access.market).site


def how_an_instance_ends(access: MarketAccess) -> str:
    """Shell functions `destroy` and `stop` with which an instance of this market ends itself."""
    return market_kind(access.market).ending(access)


def market_kind(name: str) -> MarketKind:
    """Raises ValueError for a market that is not known."""
    if name not in MARKETS:
        raise ValueError(f"market is {name[:80]!r}; it can be {', '.join(MARKETS)}")
    return MARKETS[name]
