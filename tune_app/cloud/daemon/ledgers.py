"""The daemon's ledger as it starts: opened, or replaced if it is damaged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from tune_app.cloud.errors import CloudError
from tune_app.cloud.ledger.damaged import lay_aside
from tune_app.cloud.ledger.file import LedgerDamagedError, ledger_path
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.labels import Label, prefix
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.renting.settings import CloudSettings

TRIES = 40

logger = logging.getLogger(__name__)


def open_ledger(
    state: Path,
    settings: CloudSettings,
    market: Market,
    damage: Exception | None = None,
    *,
    head: str,
    clock: Callable[[], float] = time.time,
) -> Ledger:
    """The cluster's ledger; a new and closed one if it is damaged.

    Args:
        state: folder of all clusters' ledgers.
        damage: what was found in it while it was used.
        head: this head's id.
        clock: seconds since 1970, by which it counts dollars.

    Raises LedgerError for one that another program or cluster wrote, and OSError if none can be
    written: then all that this head may have rented was destroyed, as far as that could be.
    """
    path = ledger_path(state, settings.cluster)
    slots = range(settings.first_k, settings.last_k + 1)
    try:
        if damage is not None:
            lay_aside(path, str(damage), cluster=settings.cluster, slots=slots)
        try:
            return Ledger.open(path, cluster=settings.cluster, slots=slots, clock=clock)
        except LedgerDamagedError as error:
            lay_aside(path, str(error), cluster=settings.cluster, slots=slots)
            return Ledger.open(path, cluster=settings.cluster, slots=slots, clock=clock)
    except OSError:
        # Nothing counts what is spent from here on.
        destroy_labelled(market, settings.cluster, head, pause_s=settings.patience.poll)
        raise


def destroy_labelled(
    market: Market, cluster: str, head: str, *, pause_s: float, tries: int = TRIES
) -> list[int]:
    """Destroys, without a ledger, what this head may have rented, until the list is empty.

    What bears the cluster's label and another head's id is another cluster of the same name.

    Returns the contracts that are left after the last try.
    """
    left: list[int] = []
    for _ in range(tries):
        try:
            listed = market.instances(labelled=prefix(cluster))
            left = [item.id for item in listed if _may_be_ours(item.label, cluster, head)]
            if not left:
                return []
            for contract in left:
                market.destroy(contract)
                logger.warning("destroyed instance %d: the ledger cannot be used", contract)
        except CloudError as error:
            logger.warning("not everything is destroyed yet: %s", error)
        time.sleep(pause_s)
    return left


def _may_be_ours(text: str, cluster: str, head: str) -> bool:
    """Also where no head can be read in a label of the cluster's: it bills, and has no ledger."""
    label = Label.parse(text)
    return label is None or label.may_be_of(cluster, head)
