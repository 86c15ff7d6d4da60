"""When the head's Ray starts afresh because its links were gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tune_app.cloud.node.link_faults import LinkFault, judged_fault
from tune_app.cloud.overlay.links import Links, LinksUnknownError
from tune_app.cloud.overlay.verdicts import LinkPatience, LinkState
from tune_app.cloud.overlay.watch import LinkWatch


class Head:
    """Links that a test opens and closes, seen every two seconds by the head's own watch."""

    def __init__(self, *workers: int) -> None:
        self.now = 0.0
        self.blind = False
        self.seen = Links(open=frozenset(workers), server_up=True)
        self.fault = LinkFault()
        self.allowed = set(workers)
        self.watch = LinkWatch(
            look=self.look,
            ask=lambda open_now: open_now,
            workers=lambda: self.allowed,
            patience=LinkPatience(closed=10, together=5, head=120),
            clock=lambda: self.now,
        )
        assert self.after(2) is None

    def look(self) -> Links:
        if self.blind:
            raise LinksUnknownError("the links cannot be seen")
        return self.seen

    def open(self, *workers: int, server_up: bool = True) -> None:
        self.seen = replace(self.seen, open=frozenset(workers), server_up=server_up)

    def after(self, seconds: float) -> str | None:
        """The first reason to start afresh within the time."""
        until = self.now + seconds
        while self.now < until:
            self.now += 2
            self.fault, reason = judged_fault(
                self.fault, self.watch.step() or self.watch.verdicts()
            )
            if reason is not None:
                return reason
        return None


def test_links_that_close_together_and_come_back_start_ray_afresh_once() -> None:
    head = Head(2, 3)
    head.open()
    assert head.after(30) is None  # nobody could join yet
    head.open(3)
    reason = head.after(2)
    assert reason is not None
    assert "all 2 links closed" in reason
    assert "worker 3" in reason
    head.open(2, 3)
    assert head.after(60) is None


def test_one_worker_of_several_is_the_workers_own_matter() -> None:
    head = Head(2, 3)
    head.open(3)
    assert head.after(8) is None
    head.open(2, 3)
    assert head.after(60) is None
    broken, other = head.watch.verdicts()[2], head.watch.verdicts()[3]
    assert (broken.state, other.state) == (LinkState.BROKEN, LinkState.OPEN)
    assert "Ray never frees what was reserved" in broken.reason


def test_the_only_link_says_nothing_of_the_head() -> None:
    head = Head(2)
    head.open()
    assert head.after(6) is None
    head.open(2)
    assert head.after(60) is None


@pytest.mark.parametrize("workers", [(2,), (2, 3)])
def test_links_that_went_with_the_heads_ssh_server_start_ray_afresh(
    workers: tuple[int, ...],
) -> None:
    head = Head(*workers)
    head.open(server_up=False)
    assert head.after(8) is None
    head.open()
    assert head.after(8) is None
    head.open(*workers)
    assert "SSH server does not listen" in str(head.after(2))


def test_workers_that_never_come_back_are_forgotten() -> None:
    head = Head(2, 3)
    head.open()
    assert head.after(200) is None
    # Others, which Ray has not seen before.
    head.allowed = {4, 5}
    head.open(4, 5)
    assert head.after(60) is None


def test_what_cannot_be_seen_changes_nothing() -> None:
    head = Head(2, 3)
    head.open()
    assert head.after(4) is None
    head.blind = True
    assert head.after(10) is None
    head.blind = False
    head.open(2, 3)
    assert head.after(2) is not None
