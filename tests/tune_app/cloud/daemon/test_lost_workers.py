"""Who is ended for a lost link: decided by values, then done once, and not by who watches."""

from __future__ import annotations

import threading

from tests.tune_app.cloud.daemon.daemons import until
from tune_app.cloud.daemon.lost_workers import LostWorkers, linked, lost
from tune_app.cloud.errors import CloudError
from tune_app.cloud.ledger.endings import Ending, taken_away
from tune_app.cloud.overlay.verdicts import LinkState, LinkVerdict

OPEN = LinkVerdict(state=LinkState.OPEN, reason="open")
STALLED = LinkVerdict(state=LinkState.STALLED, reason="silent for 3 s")
CLOSED = LinkVerdict(state=LinkState.CLOSED, reason="closed for 3 s")
LOST = LinkVerdict(state=LinkState.LOST, reason="its link is closed for 11 s")
BROKEN = LinkVerdict(state=LinkState.BROKEN, reason="its link was closed for 4 s and came back")
HEAD = LinkVerdict(state=LinkState.HEAD, reason="all 2 links closed within 0 s")


class Rented:
    """Rentals as the test tells them; what is destroyed waits until it may go on."""

    def __init__(self, loaded: dict[int, int]) -> None:
        self.running = loaded
        self.condemned: list[tuple[int, Ending]] = []
        self.destroyed: list[int] = []
        self.go_on = threading.Event()
        self.refuses = False

    def loaded(self) -> dict[int, int]:
        return self.running

    def condemn(self, contract: int, ending: Ending) -> None:
        self.condemned.append((contract, ending))
        self.running = {k: one for k, one in self.running.items() if one != contract}

    def destroy(self, contract: int, reason: str) -> bool:
        assert self.go_on.wait(10)
        if self.refuses:
            raise CloudError("the API is away")
        self.destroyed.append(contract)
        return True


def test_an_open_link_is_the_instances_that_runs_under_the_number() -> None:
    assert linked({}, {2: OPEN, 3: STALLED, 4: OPEN}, {2: 20, 3: 30}) == {2: 20, 3: 30}
    assert linked({2: 20}, {2: CLOSED}, {2: 21}) == {2: 20}, "the new one's was never open"
    assert linked({2: 20}, {2: OPEN}, {2: 21}) == {2: 21}
    assert linked({2: 20}, {}, {2: 20}) == {2: 20}, "nothing could be seen"
    assert linked({}, {2: BROKEN}, {2: 20}) == {2: 20}, "it broke before it was listed as running"


def test_lost_is_only_whose_own_link_was_open() -> None:
    assert lost({2: LOST, 3: OPEN}, {2: 20, 3: 30}, {2: 20, 3: 30}) == {
        20: "its link is closed for 11 s"
    }
    assert lost({2: BROKEN, 3: OPEN}, {2: 20, 3: 30}, {2: 20, 3: 30}) == {20: BROKEN.reason}
    assert lost({2: LOST}, {2: 20}, {2: 21}) == {}, "the number is another's by now"
    assert lost({2: LOST}, {}, {2: 20}) == {}, "its link was never open"
    assert lost({2: LOST}, {2: 20}, {}) == {}, "it is condemned already, or still loading"
    assert lost({2: HEAD, 3: HEAD, 4: CLOSED, 5: STALLED}, {2: 1, 3: 2}, {2: 1, 3: 2}) == {}


def test_each_is_ended_once_and_the_watch_does_not_wait() -> None:
    rented = Rented({2: 20, 3: 30})
    workers = LostWorkers(rented)
    workers.act({2: OPEN, 3: OPEN})
    for _ in range(3):
        workers.act({2: LOST, 3: OPEN})
    assert rented.condemned == [(20, taken_away(LOST.reason))]
    assert rented.destroyed == []
    rented.running = {2: 21, 3: 30}
    workers.act({2: LOST, 3: OPEN})  # of the last owner's link still
    rented.go_on.set()
    until(lambda: rented.destroyed == [20])
    workers.close()
    assert rented.condemned == [(20, taken_away(LOST.reason))]


def test_an_api_that_is_away_ends_nothing_but_this_try() -> None:
    rented = Rented({2: 20, 3: 30})
    rented.go_on.set()
    rented.refuses = True
    workers = LostWorkers(rented)
    workers.act({2: OPEN, 3: OPEN})
    workers.act({2: LOST, 3: OPEN})
    workers.act({3: LOST})
    workers.close()
    assert [contract for contract, _ in rented.condemned] == [20, 30]
