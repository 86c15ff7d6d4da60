"""What links mean, told by a clock that the test moves."""

from __future__ import annotations

import pytest

from tests.tune_app.cloud.clock import Clock
from tune_app.cloud.overlay.links import Links, LinksUnknownError, links_among, listening
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.overlay.verdicts import LinkPatience, LinkState
from tune_app.cloud.overlay.watch import LinkWatch


class World:
    """What a watch sees: told by hand."""

    def __init__(self, *workers: int) -> None:
        self.clock = Clock(0.0)
        self.workers = set(workers)
        self.open = set(workers)
        self.silent: set[int] = set()
        self.server_up = True
        self.hidden = False
        self.watch = LinkWatch(
            look=self.look,
            ask=lambda asked: frozenset(asked - self.silent),
            workers=lambda: self.workers,
            clock=self.clock,
        )

    def look(self) -> Links:
        if self.hidden:
            raise LinksUnknownError("nobody may look")
        return Links(open=frozenset(self.open), server_up=self.server_up)

    def after(self, seconds: float) -> dict[int, LinkState]:
        """What is judged when this much time has passed."""
        self.clock.now += seconds
        return {k: verdict.state for k, verdict in self.watch.step().items()}


def test_a_link_closed_for_over_10_s_is_lost() -> None:
    world = World(2, 3)
    assert world.after(0) == {2: LinkState.OPEN, 3: LinkState.OPEN}
    world.open = {3}
    assert world.after(1)[2] is LinkState.CLOSED
    assert world.after(10)[2] is LinkState.CLOSED
    assert world.after(0.5) == {2: LinkState.LOST, 3: LinkState.OPEN}
    assert world.watch.verdicts()[2].reason == "its link is closed for 10 s"
    assert (world.watch.link_up(2), world.watch.link_up(3)) == (False, True)


@pytest.mark.parametrize("phase", [0.05, 0.5, 0.95])
@pytest.mark.parametrize(
    ("closed_s", "state"),
    [(1.0, LinkState.OPEN), (4.0, LinkState.BROKEN), (10.0, LinkState.BROKEN)],
)
def test_one_link_that_was_closed_and_came_back(
    closed_s: float, state: LinkState, phase: float
) -> None:
    """By looks as far apart as they are, whichever moment between two of them it closes at."""
    look = LinkPatience().look
    world = World(2, 3)
    world.after(0)
    closes = world.clock.now + phase * look
    seen = {}
    while world.clock.now < closes + closed_s:
        away = closes <= world.clock.now + look < closes + closed_s
        world.open = {3} if away else {2, 3}
        seen = world.after(look)
        assert seen[3] is LinkState.OPEN, "the others are not to blame"
        assert seen[2] is not LinkState.LOST
    assert seen[2] is state
    assert world.after(60)[2] is state, "a broken one does not mend itself"
    assert world.watch.link_up(2) is (state is LinkState.OPEN)
    if state is LinkState.BROKEN:
        reason = world.watch.verdicts()[2].reason
        assert f"its link was closed for {closed_s:.0f} s and came back" in reason


def test_many_short_breaks_are_not_a_long_one() -> None:
    world = World(2, 3)
    world.after(0)
    for _ in range(5):
        world.open = {3}
        assert world.after(1)[2] is LinkState.CLOSED
        world.open = {2, 3}
        assert world.after(1)[2] is LinkState.OPEN


def test_a_new_owner_of_the_number_has_no_broken_link() -> None:
    world = World(2, 3)
    world.after(0)
    world.open = {3}
    world.after(1)
    world.open = {2, 3}
    assert world.after(4)[2] is LinkState.BROKEN
    world.workers = {3}
    world.after(1)
    world.workers = {2, 3}
    assert world.after(1)[2] is LinkState.OPEN


def test_links_that_the_head_broke_are_not_their_workers_fault_when_they_come_back() -> None:
    world = World(2, 3, 4)
    world.after(0)
    world.open = set()
    assert set(world.after(1).values()) == {LinkState.HEAD}
    world.after(4)
    world.open = {2}
    assert world.after(4)[2] is LinkState.OPEN
    world.after(4)
    world.open = {2, 3}
    assert world.after(1)[3] is LinkState.OPEN
    world.after(2)
    world.open = {2, 3, 4}
    assert set(world.after(1).values()) == {LinkState.OPEN}
    world.open = {2, 3}
    world.after(1)
    world.open = {2, 3, 4}
    assert world.after(4)[4] is LinkState.BROKEN, "the excuse was for that fault alone"


def test_a_silent_link_is_waited_for_through_a_stall_of_90_s() -> None:
    world = World(2, 3)
    world.after(0)
    world.silent = {2}
    assert world.after(1)[2] is LinkState.STALLED
    assert world.after(180) == {2: LinkState.STALLED, 3: LinkState.OPEN}
    assert world.watch.link_up(2) is True
    world.silent = set()
    assert world.after(1)[2] is LinkState.OPEN
    world.silent = {2}
    world.after(1)
    assert world.after(181)[2] is LinkState.LOST
    assert world.watch.link_up(2) is False


def test_all_links_closed_together_are_the_heads_fault() -> None:
    world = World(2, 3, 4)
    world.after(0)
    world.open = {3}
    world.after(1)
    world.open = set()
    assert set(world.after(3).values()) == {LinkState.HEAD}
    assert set(world.after(60).values()) == {LinkState.HEAD}
    assert world.watch.verdicts()[2].reason == "no link has come back since the head's fault"
    assert world.watch.link_up(2) is None
    # The first is back: the others have their 10 s from now on.
    world.open = {2}
    assert world.after(1) == {2: LinkState.OPEN, 3: LinkState.CLOSED, 4: LinkState.CLOSED}
    world.open = {2, 3}
    assert world.after(10)[4] is LinkState.CLOSED
    assert world.after(1) == {2: LinkState.OPEN, 3: LinkState.OPEN, 4: LinkState.LOST}


def test_links_that_close_one_after_another_are_their_own_fault() -> None:
    world = World(2, 3)
    world.after(0)
    world.open = {3}
    world.after(1)
    world.open = set()
    assert world.after(8) == {2: LinkState.CLOSED, 3: LinkState.CLOSED}
    assert world.after(4) == {2: LinkState.LOST, 3: LinkState.CLOSED}
    assert world.after(8) == {2: LinkState.LOST, 3: LinkState.LOST}


def test_a_single_link_is_its_workers_fault_while_the_server_listens() -> None:
    world = World(2)
    world.after(0)
    world.open = set()
    world.after(1)
    assert world.after(11) == {2: LinkState.LOST}
    world = World(2)
    world.after(0)
    world.open, world.server_up = set(), False
    world.after(1)
    assert world.after(11) == {2: LinkState.HEAD}
    world.server_up = True
    assert world.after(1) == {2: LinkState.HEAD}, "it needs time to dial"


def test_workers_that_stay_away_long_after_the_heads_fault_are_lost() -> None:
    world = World(2, 3)
    world.after(0)
    world.open, world.server_up = set(), False
    world.after(1)
    assert set(world.after(600).values()) == {LinkState.HEAD}
    world.server_up = True
    assert set(world.after(119).values()) == {LinkState.HEAD}
    assert set(world.after(2).values()) == {LinkState.LOST}
    assert set(world.after(2).values()) == {LinkState.LOST}
    world.open = {2, 3}
    assert set(world.after(2).values()) == {LinkState.BROKEN}
    world.open = set()
    assert set(world.after(2).values()) == {LinkState.HEAD}, "a new fault"


def test_a_worker_that_never_dialled_is_not_judged_and_a_revoked_one_is_forgotten() -> None:
    world = World(2, 3)
    world.open = {2}
    assert world.after(0) == {2: LinkState.OPEN}
    assert world.after(900) == {2: LinkState.OPEN}
    assert world.watch.link_up(3) is False
    world.workers = {3}
    assert world.after(1) == {}
    world.workers = {2, 3}
    world.open = set()
    assert world.after(1) == {}, "another worker with the same number starts anew"


def test_where_nothing_can_be_seen_nothing_is_known() -> None:
    world = World(2)
    assert world.watch.link_up(2) is None
    world.after(0)
    world.hidden = True
    assert world.after(60) == {}
    assert world.watch.link_up(2) is None
    world.hidden = False
    assert world.after(1) == {2: LinkState.OPEN}


def test_time_outs_are_over_0() -> None:
    with pytest.raises(ValueError, match="closed"):
        LinkPatience(closed=0)


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 02004D7F:4E88 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 03004D7F:4EEC 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 00000000:1E2A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3
"""
WIDE = f"""\
  sl  local_address                         remote_address                        st tx_queue
   0: {"0" * 32}:1E2A {"0" * 32}:0000 0A 00000000:00000000
"""


def test_links_are_seen_in_the_kernels_table() -> None:
    settings = OverlaySettings(head="h")
    assert listening(TABLE) == [("127.77.0.2", 20_104), ("0.0.0.0", 7722)]
    assert listening(WIDE) == [("0" * 32, 7722)]
    seen = links_among(settings, [("127.77.0.4", 20_400), ("0.0.0.0", 20_500), ("::", 7722)])
    assert (seen.open, seen.server_up) == ({4}, True)
    assert not links_among(settings, [("127.77.0.4", 20_401)]).open
    assert not links_among(settings, []).server_up


def test_while_the_head_is_at_fault_nobody_knows_of_links_that_were_never_open() -> None:
    world = World(2, 3)
    world.open = {2, 3}
    world.workers = {2, 3, 4}
    world.after(0)
    assert world.watch.link_up(4) is False
    world.server_up = False
    world.after(2)
    assert (world.watch.link_up(3), world.watch.link_up(4)) == (True, None)
    world.server_up = True
    world.open = set()
    assert world.after(2) == {2: LinkState.HEAD, 3: LinkState.HEAD}
    assert world.watch.link_up(4) is None
    world.open = {2, 3}
    world.after(2)
    assert world.watch.link_up(4) is False
