"""The daemon: answers clients, checks all instances regularly, and rents within the cap."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tune_app.cloud.daemon.alerts import Alerts
from tune_app.cloud.daemon.client import default_socket
from tune_app.cloud.daemon.conditions import Watched, conditions, may_feed
from tune_app.cloud.daemon.ledgers import open_ledger
from tune_app.cloud.daemon.lost_workers import ending_lost
from tune_app.cloud.daemon.protocol import DrainOrder, node_message
from tune_app.cloud.daemon.socket_server import MAXIMUM_CONNECTIONS, listening
from tune_app.cloud.errors import CloudError, UncertainError, WrongKeyError
from tune_app.cloud.ledger.damaged import is_damage, is_unreadable
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.labels import prefix
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.open_market import open_market, site_of
from tune_app.cloud.overlay import heartbeat
from tune_app.cloud.overlay.heartbeat import Heartbeat
from tune_app.cloud.overlay.watch import LinkWatch
from tune_app.cloud.renting.bills import bill_of
from tune_app.cloud.renting.drain import seconds_left
from tune_app.cloud.renting.head_id import own_head_id
from tune_app.cloud.renting.rented_machines import Rentals
from tune_app.cloud.renting.settings import CloudSettings
from tune_app.cloud.renting.verdicts import head_to_blame
from tune_app.cloud.renting.workers import WorkerSetup
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.steady_clock import SteadyClock

MODULE = "tune_app.cloud.daemon"
MAXIMUM_SOCKET_PATH = 100
MAXIMUM_NUMBER = 2**63 - 1
"""The ledger's largest."""
UNREADABLE_STEPS = 4
"""A ledger that so many steps in a row cannot read counts as damaged."""

logger = logging.getLogger(MODULE)


def serve(
    settings: CloudSettings,
    key: ApiKey,
    *,
    state: Path,
    path: Path | None = None,
    group: str | None = None,
    setup: WorkerSetup | None = None,
    links: LinkWatch | None = None,
) -> None:
    """Runs until SIGTERM or SIGINT. Nothing is destroyed then: workers outlive the daemon.

    Args:
        state: folder of all clusters' ledgers.
        path: of the socket.
        group: whose members may open it, besides this user.
        setup: see `Rentals`.
        links: watched meanwhile; a worker that loses its link is destroyed.

    Raises ValueError if another daemon uses the folder or the socket's path is too long, and
    WrongKeyError if the API refuses the key.
    """
    path = (path or default_socket()).absolute()
    if len(os.fsencode(path)) > MAXIMUM_SOCKET_PATH:
        raise ValueError(
            f"the socket's path {path} has over {MAXIMUM_SOCKET_PATH} bytes; choose a shorter one"
        )
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    clock = SteadyClock()
    with (
        _alone(state),
        open_market(settings.access, key, heard=clock.heard) as market,
        closing(
            Alerts(settings.cluster, to=settings.on_alert, memory=state / "alerts.json")
        ) as alerts,
    ):
        head = own_head_id(state)
        damage = None
        while True:
            with open_ledger(state, settings, market, damage, head=head, clock=clock) as ledger:
                _try_key(market, prefix(settings.cluster), alerts)
                link_up = None if links is None else links.link_up
                rentals = Rentals(
                    settings,
                    market,
                    ledger,
                    setup=setup,
                    link_up=link_up,
                    head=head,
                    clock=clock,
                )
                with nullcontext() if links is None else ending_lost(links, rentals):
                    sign = Heartbeat(path=path.with_name(heartbeat.FILE))
                    daemon = Daemon(
                        settings,
                        rentals,
                        ledger,
                        alerts=alerts,
                        beat=sign.beat,
                        head=head,
                        clock=clock,
                    )
                    damage = daemon.run(path, group)
            if damage is None:
                return


def _try_key(market: Market, labelled: str, alerts: Alerts) -> None:
    try:
        # With the most important call: a scoped key may not see the credit.
        market.instances(labelled=labelled)
    except WrongKeyError as error:
        alerts.update({"key": f"the daemon cannot start, the market refuses the key: {error}"})
        raise
    except CloudError as error:
        # The rented machines have to be watched all the same.
        logger.warning("the key could not be tried: %s", error)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    lock = FileLock(state / "daemon.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"another cloud daemon works in {state}; stop that one first: systemctl stop "
            "stellux-cloud"
        ) from None
    try:
        yield
    finally:
        lock.release()


class Daemon:
    """Answers clients, and checks all instances at regular intervals."""

    def __init__(
        self,
        settings: CloudSettings,
        rentals: Rentals,
        ledger: Ledger,
        *,
        alerts: Alerts,
        beat: Callable[[], object] = lambda: None,
        head: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            beat: says to workers that somebody watches them: see `overlay.heartbeat`.
            head: this head's id.
            clock: seconds since 1970, by which the ledger and the rentals count.
        """
        self._settings = settings
        self._alerts = alerts
        self._seen_at = time.monotonic()
        self._doomed: dict[int, float] = {}
        self._damage: Exception | None = None
        self._unreadable = 0
        self._stop_serving: Callable[[], object] = lambda: None
        self._rentals = rentals
        self._ledger = ledger
        self._beat = beat
        self._head = head
        self._clock = clock
        self._ended = threading.Event()
        self._looked_at: float | None = None
        self._trouble = "not looked yet"
        self._launches = ThreadPoolExecutor(MAXIMUM_CONNECTIONS, thread_name_prefix="launch")

    def run(self, path: Path, group: str | None) -> Exception | None:
        """Listens at `path` until SIGTERM or SIGINT. Returns what damaged the ledger, if that is.

        With a damaged ledger it stops at once: nothing that it says of money can be relied on.
        """
        watch = threading.Thread(target=self._watch, name="watch", daemon=True)
        with listening(path, group, self.answer) as server:
            for number in (signal.SIGTERM, signal.SIGINT):
                # In a thread of its own: shutdown() waits for the loop that this signal interrupts.
                signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
            self._stop_serving = server.shutdown
            watch.start()
            logger.info("listening at %s for the cluster %s", path, self._settings.cluster)
            server.serve_forever(poll_interval=0.1)
        self._ended.set()
        self._launches.shutdown(wait=True, cancel_futures=True)
        watch.join(self._settings.patience.create)
        return self._damage

    def _watch(self) -> None:
        while not self._ended.is_set():
            self.step()
            if self._damage is not None:
                self._stop_serving()
                return
            self._ended.wait(self._settings.patience.poll)

    def step(self) -> None:
        """One look at everything, and what it says to a person. Never raises."""
        failure: Exception | None = None
        try:
            self._rentals.step()
            self._looked_at, self._trouble, self._unreadable = time.time(), "", 0
            self._seen_at = time.monotonic()
        except CloudError as error:
            failure, self._trouble = error, str(error)
            logger.warning("%s", error)
        except Exception as error:
            # A bug must not stop the watch over what costs money.
            failure, self._trouble = error, f"a bug: {error}"
            logger.exception("a bug")
            self._unreadable += is_unreadable(error)
            if is_damage(error) or self._unreadable >= UNREADABLE_STEPS:
                self._damage = error
                return
        if may_feed(failure, unseen_s=self._unseen_s()):
            self._feed_workers()
        self._alert(failure)

    def _feed_workers(self) -> None:
        """Without this for 15 minutes, workers end themselves."""
        try:
            self._beat()
        except OSError as error:
            logger.warning("workers get no heartbeat, and end themselves in 15 minutes: %s", error)

    def _unseen_s(self) -> float:
        """Since the last whole step, or since the start."""
        return time.monotonic() - self._seen_at

    def _alert(self, failure: Exception | None) -> None:
        """Tells what a person has to know after a step. Never raises."""
        try:
            self._alerts.update(conditions(self._watched(failure)))
        except Exception:
            logger.exception("a bug")

    def _watched(self, failure: Exception | None) -> Watched:
        live, now = self._ledger.live(), time.monotonic()
        doomed = {rental.contract for rental in live if rental.doomed}
        self._doomed = {contract: self._doomed.get(contract, now) for contract in doomed}
        return Watched(
            trouble=self._trouble,
            key_refused=isinstance(failure, WrongKeyError),
            bug=failure is not None and not isinstance(failure, CloudError),
            unseen_s=self._unseen_s(),
            billing=self._rentals.money.billing.refusal(),
            drain=self._rentals.money.drains.current(),
            lost=self._ledger.lost(),
            stuck={contract: now - since for contract, since in self._doomed.items()},
            rented=len(live),
            site=site_of(self._settings.access),
        )

    def answer(self, request: dict[str, Any]) -> Any:
        """Answers a request. Raises the classes of `errors`, and ValueError for invalid ones."""
        operations: dict[str, Callable[[dict[str, Any]], Any]] = {
            "create": self._create,
            "list": lambda _: self._list(),
            "destroy": lambda asked: self._rentals.destroy(
                _whole(asked, "contract"),
                _text(asked, "reason"),
                bad=asked.get("bad") is True,
            ),
            "destroy_all": lambda asked: self._rentals.destroy_all(_text(asked, "reason")),
            "open": lambda _: self._rentals.open(),
            "status": lambda _: self._status(),
            "drain": lambda asked: asdict(self._drain(_text(asked, "driver"))),
            "drained": lambda asked: self._drained(_text(asked, "driver"), _whole(asked, "number")),
            "bill": lambda asked: self._bill(_contracts(asked)),
        }
        name = request.get("op")
        if not isinstance(name, str) or name not in operations:
            raise ValueError(
                f"unknown operation {str(name)[:40]!r}; expected one of {', '.join(operations)}"
            )
        return operations[name](request)

    def _list(self) -> list[dict[str, Any]]:
        # Before the answer, which may fail: somebody is there.
        self._rentals.money.drains.asked()
        return [node_message(node) for node in self._rentals.nodes()]

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        node_type, request = _text(asked, "node_type"), _text(asked, "request")
        self._rentals.money.drains.asked()
        launch = self._launches.submit(self._rentals.create, node_type, request)
        try:
            return node_message(launch.result(timeout=self._settings.patience.create))
        except FutureTimeoutError:
            raise UncertainError(
                f"request {request} is not answered after {self._settings.patience.create:g} s; "
                "it continues: ask again later"
            ) from None

    def _drain(self, driver: str) -> DrainOrder:
        drain = self._rentals.money.drains.driver_asked(driver)
        if drain is None:
            return DrainOrder(
                number=0, phase="", reason="", seconds_left=0.0, alerts=self._alerts.texts()
            )
        return DrainOrder(
            number=drain.number,
            phase=drain.phase.value,
            reason=drain.reason,
            seconds_left=seconds_left(drain, self._clock()),
            alerts=self._alerts.texts(),
        )

    def _drained(self, driver: str, number: int) -> None:
        self._rentals.money.drains.driver_saved(driver, number)

    def _bill(self, working: list[int]) -> dict[str, Any]:
        self._ledger.worked(working)
        known = [
            (one, None if one.attempt is None else self._ledger.find_attempt(one.attempt))
            for one in self._ledger.rentals()
        ]
        now = self._clock()
        return bill_of(
            known,
            self._rentals.budget(),
            cluster=self._settings.cluster,
            now=now,
            # Drivers have the times of their attempts from the head's own clock.
            ahead_s=time.time() - now,
            head_per_hour=self._settings.head_dollars_per_hour,
        ).to_values()

    def _status(self) -> dict[str, Any]:
        budget, rentals = self._rentals.budget(), self._ledger.rentals()
        failures: dict[str, str] = {}
        blamed = head_to_blame(self._ledger.machines_never_linked())
        for name in self._settings.node_types:
            count, _, reason = self._ledger.launch_failures(name)
            if count:
                failures[name] = f"{count} in a row, the last: {blamed or reason}"
        return {
            "cluster": self._settings.cluster,
            "closed": self._rentals.closed(),
            "cap": budget.cap,
            "spent": budget.spent,
            "spent_by": budget.spending.by,
            "alerts": self._alerts.texts(),
            "per_hour": budget.per_hour,
            "stage": budget.stage.value,
            "nodes": [node_message(node) for node in self._rentals.known_nodes()],
            "in_flight": [attempt.request for attempt in self._ledger.in_flight()],
            "being_destroyed": {
                str(rental.contract): rental.doomed
                for rental in rentals
                if rental.doomed and rental.ended_at is None
            },
            "ended": Counter(
                kind_of(rental.ended_reason) for rental in rentals if rental.ended_at is not None
            ),
            "failures": failures,
            "avoided": {str(machine): reason for machine, reason in self._ledger.avoided().items()},
            "gpu_hours": sum(rental.gpu_hours for rental in rentals),
            "looked_at": self._looked_at,
            "trouble": self._trouble,
            "head": self._head,
            "head_per_hour": self._settings.head_dollars_per_hour,
            "shown_at": site_of(self._settings.access).instances,
        }


def kind_of(reason: str) -> str:
    """A reason without its numbers, so that those which differ in seconds alone count together."""
    return re.sub(r"\d[\d.,]*", "…", reason)


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {str(value)[:40]!r}; a text is expected")
    # It goes into the log, where a line is one entry.
    return "".join(one if one.isprintable() else " " for one in value[:300])


def _contracts(asked: dict[str, Any]) -> list[int]:
    """Machines on which a driver's cells train."""
    named = asked.get("working", [])
    if not isinstance(named, list):
        raise ValueError(f"working is {str(named)[:40]!r}; a list of contracts is expected")
    return [_whole({"contract": one}, "contract") for one in named]


def _whole(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAXIMUM_NUMBER:
        raise ValueError(
            f"{name} is {str(value)[:40]!r}; a whole number is expected, of 63 bits at most"
        )
    return value
