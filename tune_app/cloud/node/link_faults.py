"""When the head's Ray is to start afresh because its links were gone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tune_app.cloud.overlay.verdicts import LinkState, LinkVerdict


@dataclass(frozen=True, kw_only=True)
class LinkFault:
    """What is remembered between two looks."""

    closed: str = ""
    """Why the head is at fault that all links are closed; empty if it is not."""


def judged_fault(
    before: LinkFault, verdicts: Mapping[int, LinkVerdict]
) -> tuple[LinkFault, str | None]:
    """What to remember, and why Ray must restart now; None if it need not.

    Ray never frees what was reserved on a node whose connections broke and came back: the node
    lives, and is of no use. That of one worker is destroyed with it (LinkState.BROKEN, on which the
    daemon acts), and Ray goes on for the others; where the head broke all of them the workers are
    kept, and the head forgets. It does so when the first link is back: before that nobody could
    join, and the other links may not come at all.
    """
    at_fault = [one for one in verdicts.values() if one.state is LinkState.HEAD]
    if at_fault:
        # The first reason tells most: later ones only say that it goes on.
        return (before if before.closed else LinkFault(closed=at_fault[0].reason)), None
    back = sorted(k for k, one in verdicts.items() if one.up)
    if before.closed and back:
        return LinkFault(), (
            f"{before.closed}, and the link of worker {back[0]} is open again: Ray's connections "
            "to its nodes are broken"
        )
    # Links that are closed for a short time may be what is left of a fault; lost ones are not.
    waiting = any(one.state is LinkState.CLOSED for one in verdicts.values())
    return (before if waiting else LinkFault()), None
