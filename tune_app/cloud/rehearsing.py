"""`rehearse` from the user's machine: the key, the limits, and the report."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.rehearsal.findings import Outcome, report
from tune_app.cloud.rehearsal.rehearse import Rehearsal
from tune_app.cloud.secrets.account_key import account_key
from tune_app.cloud.vast.client import VastClient
from tune_app.cloud.vast.key_places import KEY_PLACES

IMAGE = "nvidia/cuda:12.8.1-base-ubuntu24.04"
MOST_DOLLARS = 1.0
DISK_GB = 10.0


def rehearse(
    say: Callable[[str], object],
    *,
    rent: bool,
    cap: float,
    minutes: float,
    image: str,
    gpus: tuple[str, ...],
    client: VastClient | None = None,
) -> int:
    """Returns the exit code: 1 if something differs from what is assumed.

    Raises ValueError for limits that are too high, and without a key.
    """
    if not 0 < cap <= MOST_DOLLARS:
        raise ValueError(f"the cap is {cap:g} dollars; a rehearsal may have up to {MOST_DOLLARS:g}")
    if not 0 < minutes <= 60:
        raise ValueError(f"{minutes:g} minutes; a rehearsal may take up to 60")
    usual = OfferRules()
    rules = OfferRules(
        gpus=gpus or usual.gpus, disk_gb=DISK_GB, min_hours_left=2.0, stay_hours=1.0, setup_gb=2.0
    )
    client = client or VastClient(account_key(KEY_PLACES, os.environ, Path.home()))
    rehearsal = Rehearsal(
        client, rules, image=image or IMAGE, cap_dollars=cap, minutes=minutes, say=say
    )
    try:
        if rent:
            rehearsal.run()
        else:
            quote = rehearsal.look_before()
            say(f"--rent would rent offer {quote.offer.id} at ${quote.per_hour:.3f}/h")
    finally:
        client.close()
        say(report(rehearsal.findings))
    return int(any(one.outcome is Outcome.DIFFERS for one in rehearsal.findings))
