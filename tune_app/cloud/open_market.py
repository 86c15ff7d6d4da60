"""Which market a cluster rents at. A second one is a folder like `vast`, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tune_app.cloud.market.access import VAST, MarketAccess
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.vast.opening import end_at_vast, open_vast


@dataclass(frozen=True, kw_only=True)
class MarketKind:
    """What a market's folder brings."""

    open: Callable[[ApiKey, MarketAccess, Callable[[float], None]], Market]
    """A client of an account, and whom it tells the market's own time."""
    ending: Callable[[MarketAccess], str]
    """Shell functions `destroy` and `stop` with which an instance ends itself."""


MARKETS: Mapping[str, MarketKind] = {VAST: MarketKind(open=open_vast, ending=end_at_vast)}
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


def how_an_instance_ends(access: MarketAccess) -> str:
    """Shell functions `destroy` and `stop` with which an instance of this market ends itself."""
    return market_kind(access.market).ending(access)


def market_kind(name: str) -> MarketKind:
    """Raises ValueError for a market that is not known."""
    if name not in MARKETS:
        raise ValueError(f"market is {name[:80]!r}; it can be {', '.join(MARKETS)}")
    return MARKETS[name]
