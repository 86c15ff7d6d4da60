"""What a person has to know of a cluster now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tune_app.cloud.errors import CloudError, LedgerUnwritableError, WrongKeyError
from tune_app.cloud.market.site import MarketSite
from tune_app.cloud.renting.drain import Drain, Phase

UNSEEN_S = 600.0
"""For this long the list of instances may fail before somebody is told."""
STUCK_S = 600.0
"""For this long an instance may refuse to be destroyed."""
FEED_S = 300.0
"""For this long steps may fail before workers get no heartbeat any more."""


def may_feed(failure: Exception | None, *, unseen_s: float) -> bool:
    """Whether workers may be told that they are watched, after a step.

    Not after a bug, nor with a refused key, nor while the market cannot be reached for long: then
    nobody can end them at the cap, and they end themselves.

    Args:
        failure: of the step; None if it succeeded.
        unseen_s: since the last one that succeeded.
    """
    if failure is None or isinstance(failure, LedgerUnwritableError):
        return True
    if isinstance(failure, WrongKeyError) or not isinstance(failure, CloudError):
        return False
    return unseen_s < FEED_S


@dataclass(frozen=True, kw_only=True)
class Watched:
    """How the daemon's last step went. Times in seconds."""

    trouble: str
    """Why it failed; empty if it did not."""
    key_refused: bool
    bug: bool
    unseen_s: float
    """Since the instances were last listed, or since the start."""
    billing: str
    """Why the billing data are too old; empty if they are not."""
    drain: Drain | None
    lost: str
    """Why the ledger's spending was lost, and is not restored yet."""
    stuck: Mapping[int, float]
    """Contract → for how long it is being destroyed."""
    rented: int
    site: MarketSite
    """Of the market."""


def conditions(seen: Watched) -> dict[str, str]:
    """Name and text of each condition that holds."""
    holds: dict[str, str] = {}
    if seen.key_refused:
        holds["key"] = (
            f"the market refuses the key ({seen.trouble}): {seen.rented} workers are neither "
            "watched nor can they be destroyed from here; make a new key and run ray up, or "
            f"destroy them on {seen.site.instances}. Their dead man's switches end them in 15 "
            "minutes"
        )
    elif seen.bug:
        holds["bug"] = f"the daemon's step fails ({seen.trouble}): see journalctl -u stellux-cloud"
    elif seen.trouble and seen.unseen_s >= UNSEEN_S:
        holds["list"] = (
            f"the rented machines could not be listed for {seen.unseen_s / 60:.0f} minutes: "
            f"{seen.trouble}"
        )
    if seen.lost:
        holds["ledger"] = f"the ledger was damaged, and spending is not restored: {seen.lost}"
    elif seen.billing:
        holds["billing"] = seen.billing
    if seen.drain is not None and seen.drain.phase is not Phase.ENDED:
        holds[f"drain {seen.drain.number}"] = f"all workers are being ended: {seen.drain.reason}"
    stuck = [str(contract) for contract, since in seen.stuck.items() if since >= STUCK_S]
    if stuck:
        holds["stuck"] = (
            f"instances {', '.join(stuck)} are not destroyed after {STUCK_S / 60:.0f} minutes, and "
            f"bill: destroy them on {seen.site.instances}"
        )
    return holds
