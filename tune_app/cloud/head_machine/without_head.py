"""A cluster's machines as the market lists them, for whoever has the account's key.

For when the head that rented them is gone, or cannot say. An instance belongs to a cluster by its
label, and nothing else of the account is ever touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tune_app.cloud.errors import CloudError
from tune_app.cloud.market.access import MarketAccess
from tune_app.cloud.market.labels import Label, prefix
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.market.records import Instance
from tune_app.cloud.open_market import key_of, open_market
from tune_app.cloud.renting.orphans import Owner, orphaned

Say = Callable[[str], object]


@contextmanager
def market_from_here(
    access: MarketAccess, environment: Mapping[str, str], home: Path
) -> Iterator[Market]:
    """The market of a cluster, with the key that this machine has.

    Args:
        environment, home: places to look for the key.

    Raises ValueError without a key.
    """
    with open_market(access, key_of(access, environment, home)) as market:
        yield market


def instances_of(market: Market, cluster: str) -> list[Instance]:
    """Those of a cluster, whichever head asked for them. Raises CloudError."""
    return [
        one
        for one in market.instances(labelled=prefix(cluster))
        if (label := Label.parse(one.label)) is not None and label.cluster == cluster
    ]


def end(market: Market, instances: Iterable[Instance], say: Say, *, why: str = "") -> None:
    """Destroys instances. One that is refused is told, and does not keep the others."""
    for one in instances:
        try:
            market.destroy(one.id)
            say(f"destroyed instance {one.id}, {one.label}{f': {why}' if why else ''}")
        except CloudError as error:
            say(f"instance {one.id}, {one.label}, is not destroyed: {error}")


def end_all(
    market: Market,
    cluster: str,
    say: Say,
    *,
    apart_s: float,
    within_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[int]:
    """Destroys all instances of a cluster until two looks, a while apart, have found none.

    Returns those that are left after `within_s`. Raises CloudError if that is unknown then.
    """
    until, empty = clock() + within_s, 0
    while True:
        left: list[Instance] = []
        try:
            left = instances_of(market, cluster)
            empty = 0 if left else empty + 1
        except CloudError as error:
            if clock() > until:
                raise
            empty = 0
            say(f"what is left is unknown: {error}")
        if empty >= 2:
            return []
        if left and clock() > until:
            return sorted(one.id for one in left)
        end(market, left, say)
        sleep(apart_s)


def end_orphans(
    market: Market,
    cluster: str,
    say: Say,
    *,
    owner: Callable[[], Owner | None],
    life_s: float,
    clock: Callable[[], float] = time.time,
) -> list[int]:
    """Destroys those of a cluster's instances that nothing owns. Returns those that it kept.

    Args:
        owner: asks the head what it has; None if it does not answer.

    Raises CloudError if the instances cannot be listed.
    """
    # In this order: the head records a request before it sends it, so it knows all that is listed.
    listed = instances_of(market, cluster)
    known = owner() if listed else None
    kept = []
    for one in listed:
        why = orphaned(one, cluster=cluster, owner=known, now=clock(), life_s=life_s)
        if why:
            end(market, [one], say, why=why)
        else:
            kept.append(one.id)
    return kept
