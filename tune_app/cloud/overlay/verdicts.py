"""What the state of all links means: wait, give a worker up, or look to the head. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace


@dataclass(frozen=True, kw_only=True)
class LinkPatience:
    """Seconds. Raises ValueError for what is not over 0."""

    closed: float = 10.0
    """A link that is closed for longer is lost."""
    broken: float = 1.5
    """One that was closed for longer, and is open again, leads to a node of no use: Ray never frees
    what was reserved there. More than `look`: what is closed at two looks was closed for that long,
    and what is closed at one may have been for an instant."""
    stalled: float = 180.0
    """One that is open, and over which nothing comes for longer, is lost. TCP tries again at twice
    the pause each time: after 90 s without packets it may stay silent for 180."""
    together: float = 5.0
    """Links that close within this time close together."""
    head: float = 120.0
    """How long after a fault of the head's no worker is blamed for staying away."""
    look: float = 1.0
    """Between two looks at all links."""
    answer: float = 3.0
    """How long an open link may take to react in a look."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not value > 0:
                raise ValueError(f"the links' time-out {item.name} is {value!r} s; use over 0")


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What was seen of a link at one time."""

    open: bool
    answers: bool
    """Whether its other end reacted."""


@dataclass(frozen=True, kw_only=True)
class LinkHistory:
    """Since when a link is in this state, in seconds of any clock; None if it is not."""

    closed_since: float | None = None
    silent_since: float | None = None
    was_closed: float = 0.0
    """For how long it was closed at most before it came back, by a fault that is not the head's."""
    excused: bool = False
    """It was closed by a fault of the head's."""


@dataclass(frozen=True, kw_only=True)
class History:
    """Of all links that were open once."""

    links: Mapping[int, LinkHistory] = field(default_factory=dict)
    fault_since: float | None = None
    """When the head was last seen at fault; None if it is not."""
    head_cleared: bool = False
    """All links are closed, and it no longer counts as the head's fault."""


class LinkState(enum.Enum):
    OPEN = "open"
    STALLED = "stalled"
    CLOSED = "closed"
    """For a short time: it may come back."""
    LOST = "lost"
    BROKEN = "broken"
    """Open again after it was closed for too long: Ray's connections over it are gone."""
    HEAD = "head"
    """Closed by a fault of the head's: the worker is not to blame."""


@dataclass(frozen=True, kw_only=True)
class LinkVerdict:
    """What a link's state is, and why."""

    state: LinkState
    reason: str

    @property
    def up(self) -> bool:
        """Whether its worker is to be counted on."""
        return self.state in (LinkState.OPEN, LinkState.STALLED)

    @property
    def is_open(self) -> bool:
        """Whether a worker holds it now, of use or not."""
        return self.up or self.state is LinkState.BROKEN

    @property
    def gives_up(self) -> bool:
        """Whether its worker is of no use any more: another one is to take its place."""
        return self.state in (LinkState.LOST, LinkState.BROKEN)


def observed(history: History, seen: Mapping[int, Sight], *, now: float) -> History:
    """The history with what was seen now.

    A worker whose link was never open has none; one that is no longer in `seen` is forgotten.
    """
    known: dict[int, LinkHistory] = {}
    for k, sight in seen.items():
        before = history.links.get(k)
        if sight.open:
            link = before or LinkHistory()
            since, closed = link.silent_since, link.was_closed
            by_head = link.excused or history.fault_since is not None
            if link.closed_since is not None and not by_head:
                closed = max(closed, now - link.closed_since)
            known[k] = LinkHistory(
                silent_since=None if sight.answers else (now if since is None else since),
                was_closed=closed,
            )
        elif before is not None:
            since = before.closed_since
            known[k] = replace(
                before, closed_since=now if since is None else since, silent_since=None
            )
    return replace(history, links=known)


def judged(
    history: History, *, now: float, patience: LinkPatience, server_up: bool = True
) -> tuple[History, dict[int, LinkVerdict]]:
    """The verdict on each link, and the history to go on with.

    Args:
        server_up: whether the head's SSH server listens.
    """
    closed = {
        k: link.closed_since for k, link in history.links.items() if link.closed_since is not None
    }
    all_closed = bool(closed) and len(closed) == len(history.links)
    before = history.fault_since
    fault = ""
    if all_closed and not (history.head_cleared and server_up):
        fault = _head_fault(closed, before, now, patience, server_up)
    if before is not None and not all_closed:
        # The others are on their way back, too: their time starts now.
        history = replace(
            history,
            links={
                k: link
                if link.closed_since is None
                else replace(link, closed_since=now, excused=True)
                for k, link in history.links.items()
            },
        )
    # A lasting fault is as old as its first sight, or as the server's last absence.
    began = now if before is None or not server_up else before
    history = replace(
        history,
        fault_since=began if fault else None,
        head_cleared=all_closed and not fault and (history.head_cleared or before is not None),
    )
    return history, {k: _verdict(link, now, patience, fault) for k, link in history.links.items()}


def _head_fault(
    closed: Mapping[int, float],
    before: float | None,
    now: float,
    patience: LinkPatience,
    server_up: bool,
) -> str:
    """Why the head is at fault that all links are closed, or nothing."""
    if not server_up:
        return "the head's SSH server does not listen"
    if before is not None:
        if now - before <= patience.head:
            return "no link has come back since the head's fault"
        return ""
    times = closed.values()
    # One link alone says nothing of the head.
    if len(closed) > 1 and max(times) - min(times) <= patience.together:
        return f"all {len(closed)} links closed within {max(times) - min(times):.0f} s"
    return ""


def _verdict(link: LinkHistory, now: float, patience: LinkPatience, fault: str) -> LinkVerdict:
    if link.closed_since is not None:
        return _verdict_on_closed(now - link.closed_since, patience, fault)
    if link.was_closed > patience.broken:
        return LinkVerdict(
            state=LinkState.BROKEN,
            reason=f"its link was closed for {link.was_closed:.0f} s and came back: Ray never "
            "frees what was reserved on such a node",
        )
    if link.silent_since is not None:
        silent = now - link.silent_since
        if silent > patience.stalled:
            return LinkVerdict(
                state=LinkState.LOST, reason=f"nothing came over its link for {silent:.0f} s"
            )
        return LinkVerdict(state=LinkState.STALLED, reason=f"silent for {silent:.0f} s")
    return LinkVerdict(state=LinkState.OPEN, reason="open")


def _verdict_on_closed(closed: float, patience: LinkPatience, fault: str) -> LinkVerdict:
    if fault:
        return LinkVerdict(state=LinkState.HEAD, reason=fault)
    if closed > patience.closed:
        return LinkVerdict(state=LinkState.LOST, reason=f"its link is closed for {closed:.0f} s")
    return LinkVerdict(state=LinkState.CLOSED, reason=f"closed for {closed:.0f} s")
