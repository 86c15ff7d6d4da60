"""Rents one machine for one request: chosen, recorded, requested once, found or given up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tune_app.cloud.errors import (
    BackOffError,
    BudgetError,
    ClosedError,
    CloudError,
    InFlightError,
    LaunchError,
    NoOfferError,
    NoSuchOfferError,
    RateLimitedError,
    UncertainError,
)
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.ledger.records import Attempt
from tune_app.cloud.ledger.states import RequestState
from tune_app.cloud.market.instance_request import InstanceRequest
from tune_app.cloud.market.labels import Label, checked_name
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.market.records import Quote
from tune_app.cloud.renting.experience import Experience
from tune_app.cloud.renting.launch_pace import LaunchPace
from tune_app.cloud.renting.offers import NoOffer, search_and_choose
from tune_app.cloud.renting.settings import CloudSettings, NodeType
from tune_app.cloud.renting.verdicts import head_to_blame, launch_allowed_at
from tune_app.cloud.renting.workers import Node, WorkerSetup, node_of

logger = logging.getLogger(__name__)


class Launcher:
    """Launches workers of one cluster. Thread-safe."""

    def __init__(
        self,
        settings: CloudSettings,
        market: Market,
        ledger: Ledger,
        *,
        setup: WorkerSetup,
        destroy: Callable[[int], object],
        closed: Callable[[], str],
        refusal: Callable[[Quote | None], str | None],
        head: str = "",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            destroy: tries to destroy an instance that the ledger has doomed.
            closed: why the cluster is closed to launches; empty while it is open.
            refusal: why the money does not allow this launch, or any.
            head: this head's id, which labels carry.
            clock: seconds since 1970.
        """
        self._settings = settings
        self._patience = settings.patience
        self._market = market
        self._ledger = ledger
        self._setup = setup
        self._destroy = destroy
        self._closed = closed
        self._refusal = refusal
        self._head = head
        self._clock = clock
        self._sleep = sleep
        self._choosing = threading.Lock()
        self._pending: set[str] = set()
        self._pending_lock = threading.Lock()
        self._taken: dict[int, float] = {}
        self._pace = LaunchPace(settings.launches_per_minute, clock=clock)

    def create(self, node_type: str, request: str) -> Node:
        """Rents a worker, or returns the one that this request rented before.

        Never waits for the instance to load, and requests each offer once: another offer is tried
        only if the API said that nothing was rented.

        Args:
            node_type: a name from the settings.
            request: the caller's id; the same id never has two instances at once.

        Raises LaunchError or CloudError if nothing was rented (UncertainError: perhaps), and
        ValueError for invalid names.
        """
        kind = self._settings.node_type(node_type)
        checked_name("request's id", request)
        until = self._clock() + self._patience.create
        with self._alone(request):
            rented = self._rented_before(request)
            if rented is not None:
                return rented
            self._refuse_early(node_type)
            for remaining in reversed(range(self._settings.offers_per_launch)):
                attempt = self._reserve(node_type, kind, request)
                try:
                    return self._send(attempt, kind, until)
                except NoSuchOfferError:
                    if not remaining:
                        raise
        raise AssertionError("at least one offer is tried")

    def _rented_before(self, request: str) -> Node | None:
        previous = self._ledger.latest(request)
        if previous is None or previous.contract is None:
            return None
        rental = self._ledger.rental(previous.contract)
        assert rental is not None
        if previous.state is not RequestState.RENTED or rental.doomed:
            return None
        return node_of(previous, rental, None)

    def _refuse_early(self, node_type: str) -> None:
        self._refuse_closed()
        refusal = self._refusal(None)
        if refusal is not None:
            raise BudgetError(refusal)
        failures, last, reason = self._ledger.launch_failures(node_type)
        wait = launch_allowed_at(failures, last, self._patience) - self._clock()
        blamed = head_to_blame(self._ledger.machines_never_linked())
        if blamed:
            # Every further worker would cost money, and never join.
            wait, reason = last + self._patience.backoff_most - self._clock(), blamed
        if failures and wait > 0:
            raise BackOffError(
                f"{failures} launches of {node_type} in a row failed; the next may start "
                f"in {wait:.0f} s. The last reason: {reason}"
            )
        self._ledger.refuse_full(self._settings.max_instances)

    def _refuse_closed(self) -> None:
        closed = self._closed()
        if closed:
            raise ClosedError(f"the cluster is closed: {closed}")

    def _reserve(self, node_type: str, kind: NodeType, request: str) -> Attempt:
        """Chooses an offer and records the attempt, so that no other thread chooses it."""
        with self._choosing:
            self._pace.refuse_haste()
            try:
                quote = self._choose(kind)
            except (CloudError, NoOfferError) as error:
                self._ledger.launch_failed(node_type, str(error))
                raise
            refusal = self._refusal(quote)
            if refusal is not None:
                raise BudgetError(refusal)
            self._refuse_closed()
            attempt = self._ledger.reserve(
                request,
                cluster=self._settings.cluster,
                node_type=node_type,
                quote=quote,
                at_most=self._settings.max_instances,
                head=self._head,
            )
            self._pace.sent(attempt.id)
            self._taken[quote.offer.id] = self._clock() + self._patience.settle
            return attempt

    def _choose(self, kind: NodeType) -> Quote:
        now = self._clock()
        taken = self._taken.copy()  # others give back what they did not ask for
        self._taken = {offer: until for offer, until in taken.items() if until > now}
        choice = search_and_choose(
            self._market,
            kind.rules,
            avoided=self._ledger.avoided(),
            taken=self._taken,
            experience=Experience(stays=self._ledger.stays()),
        )
        if isinstance(choice, NoOffer):
            raise NoOfferError(choice.reason)
        logger.info("%s", choice.reason)
        return choice.quote

    def _send(self, attempt: Attempt, kind: NodeType, until: float) -> Node:
        label = Label.parse(attempt.label)
        assert label is not None
        try:
            request = InstanceRequest(
                offer_id=attempt.offer,
                bid=attempt.bid,
                label=attempt.label,
                image=kind.image,
                disk_gb=kind.rules.disk_gb,
                start=self._setup.prepare(kind.start, label),
            )
        except (ValueError, OSError) as error:
            self._failed(attempt, f"its start script could not be prepared: {error}")
            raise
        # There must be time to look for the instance if the answer is missing.
        spare = until - self._clock() - self._patience.http - self._patience.look
        if spare < 0:
            self._not_sent(attempt, "the search for offers took too long")
            raise LaunchError("the search for offers took too long; nothing was sent: ask again")
        try:
            contract = self._market.create(request, turn_within_s=spare)
        except CloudError as error:
            if error.contract is not None:
                self._failed(attempt, str(error), contract=error.contract)
                self._destroy(error.contract)
                raise
            if not error.may_have_happened:
                if isinstance(error, RateLimitedError):
                    self._not_sent(attempt, str(error))
                else:
                    self._failed(attempt, str(error))
                raise
            return self._look_for(attempt, error, until)
        return self._rented(attempt, contract)

    def _look_for(self, attempt: Attempt, error: CloudError, until: float) -> Node:
        """Finds the instance of an unanswered request by its label. Nothing is sent again."""
        self._ledger.uncertain(attempt.id, str(error))
        logger.warning("%s; looking for the label %s", error, attempt.label)
        stop = min(until, self._clock() + self._patience.look)
        while True:
            try:
                for instance in self._market.instances(labelled=attempt.label):
                    if instance.label == attempt.label:
                        return self._rented(attempt, instance.id)
            except CloudError as failure:
                logger.warning("%s", failure)
            if self._clock() + self._patience.look_every > stop:
                raise UncertainError(
                    f"request {attempt.request} had no answer ({error}) and is not listed yet; "
                    f"for {self._patience.settle:.0f} s it is looked for, and adopted or "
                    "destroyed if it appears"
                ) from None
            self._sleep(self._patience.look_every)

    def _rented(self, attempt: Attempt, contract: int) -> Node:
        made = self._ledger.rented(attempt.id, contract)
        rental = self._ledger.rental(contract)
        assert rental is not None
        logger.info("rented instance %d as %s", contract, attempt.label)
        return node_of(made, rental, None)

    def give_up(self, attempt: Attempt, reason: str, *, counts: bool = True) -> None:
        """Records that an attempt rented nothing, and revokes its keys.

        Args:
            counts: whether the next launch has to wait for it.
        """
        # In this order: a freed k may be taken at once.
        self._setup.revoke(attempt.k)
        self._ledger.failed(attempt.id, reason, counts=counts)

    def _failed(self, attempt: Attempt, reason: str, *, contract: int | None = None) -> None:
        logger.warning("request %s: %s", attempt.id, reason)
        if contract is None:
            self.give_up(attempt, reason)
        else:
            self._ledger.failed(attempt.id, reason, contract=contract)

    def _not_sent(self, attempt: Attempt, reason: str) -> None:
        """Records that nothing was asked for: no bad launch, and the offer is as good as before."""
        logger.info("request %s: %s", attempt.id, reason)
        self._taken.pop(attempt.offer, None)
        self._pace.not_sent(attempt.id)
        self.give_up(attempt, reason, counts=False)

    @contextmanager
    def _alone(self, request: str) -> Iterator[None]:
        """One thread per request. Raises InFlightError if another one works on it."""
        with self._pending_lock:
            latest = self._ledger.latest(request)
            if request in self._pending or (latest is not None and latest.state.in_flight):
                raise InFlightError(
                    f"request {request} is in flight; its outcome is not known yet: ask again later"
                )
            self._pending.add(request)
        try:
            yield
        finally:
            with self._pending_lock:
                self._pending.discard(request)

    def answers_pending(self) -> set[str]:
        """Attempts for whose answer a thread of this process waits."""
        with self._pending_lock:
            pending = set(self._pending)
        return {item.id for item in self._ledger.in_flight() if item.request in pending}
