"""Which market a cluster rents at. A second one is a folder like `vast`, and a choice here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tune_app.cloud.market.protocol import Market
from tune_app.cloud.renting.settings import CloudSettings
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.vast.client import BASE_URL, VastClient
from tune_app.cloud.vast.ending import ending
from tune_app.cloud.vast.rate_limit import SECONDS_BETWEEN, RateLimit


@contextmanager
def open_market(
    settings: CloudSettings, key: ApiKey, *, heard: Callable[[float], None] = lambda _: None
) -> Iterator[Market]:
    """A client of the account with this key.

    Args:
        heard: called with the market's own time, whenever an answer tells it.
    """
    between = settings.seconds_between
    market = VastClient(
        key,
        base_url=settings.base_url or BASE_URL,
        rate_limit=RateLimit(
            SECONDS_BETWEEN if between is None else between, margin_s=settings.pace_margin
        ),
        timeout_s=settings.patience.http,
        retry_s=settings.patience.retry,
        heard=heard,
    )
    try:
        yield market
    finally:
        market.close()


def how_an_instance_ends(settings: CloudSettings) -> str:
    """Shell functions `destroy` and `stop` with which an instance of this market ends itself."""
    return ending(settings.base_url or BASE_URL)
