"""A cluster's rented machines: listed, judged, destroyed, paid.

Every step is in the ledger before it is taken. A process that is killed at any moment leaves enough
there, and in the labels, for the next one to rent nothing twice and to forget nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tune_app.cloud.errors import CloudError, OddAnswerError, UnknownInstanceError
from tune_app.cloud.ledger.endings import Ending, returned, taken_away
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.ledger.records import Attempt, Rental
from tune_app.cloud.ledger.states import Known
from tune_app.cloud.market.labels import Label, prefix
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.market.records import Instance
from tune_app.cloud.renting.budget import Budget
from tune_app.cloud.renting.link_times import LinkTimes
from tune_app.cloud.renting.money import Money
from tune_app.cloud.renting.rent_machine import Launcher
from tune_app.cloud.renting.returning import Returning
from tune_app.cloud.renting.settings import CloudSettings
from tune_app.cloud.renting.verdicts import Action, head_to_blame, judge
from tune_app.cloud.renting.workers import Node, PlainSetup, WorkerSetup, node_of

logger = logging.getLogger(__name__)

ASKED_ALONE = 5
"""So many instances that a list lacks are asked for by one look: the API allows one every 2 s."""


def _no_links(_: int) -> bool | None:
    return None


class Rentals:
    """A cluster's rented machines. Thread-safe."""

    def __init__(
        self,
        settings: CloudSettings,
        market: Market,
        ledger: Ledger,
        *,
        setup: WorkerSetup | None = None,
        link_up: Callable[[int], bool | None] | None = None,
        head: str = "",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            link_up: whether the link of the worker with this k is open; None if unknown.
            head: this head's id. Instances of another head of the same cluster's name are left
                alone, also at the cap.
            clock: seconds since 1970.
        """
        self._settings = settings
        self._patience = settings.patience
        self._market = market
        self._ledger = ledger
        self._setup = setup or PlainSetup()
        self._link_up = link_up or _no_links
        self._head = head
        self._clock = clock
        self._link_times = LinkTimes(ledger, clock=clock)
        self._returning = Returning(
            market, ledger, revoke=self._setup.revoke, forget=self._link_times.forget
        )
        self.money = Money(settings, market, ledger, clock=clock)
        self._launcher = Launcher(
            settings,
            market,
            ledger,
            setup=self._setup,
            destroy=self._returning.try_to_destroy,
            closed=self.closed,
            refusal=self.money.refusal,
            head=head,
            clock=clock,
            sleep=sleep,
        )
        self._closing = ""
        self._looking = threading.Lock()
        self._stepping = threading.Lock()
        self._listed: tuple[float, dict[int, Instance]] | None = None
        self._incomplete = self._unseen = ""

    def create(self, node_type: str, request: str) -> Node:
        """See `Launcher.create`."""
        return self._launcher.create(node_type, request)

    # Looking

    def nodes(self) -> list[Node]:
        """Rented workers that are to stay. Raises CloudError rather than guessing."""
        now = self._clock()
        if self._listed is None or now - self._listed[0] > self._patience.fresh:
            self.refresh()
        if self._unseen:
            raise OddAnswerError(self._unseen)
        return self.known_nodes()

    def known_nodes(self) -> list[Node]:
        """The same from the ledger alone, as last seen."""
        nodes: list[Node] = []
        for rental in self._ledger.live():
            if not self._is_to_end(rental):
                nodes += self._nodes(rental)
        return nodes

    def refresh(self) -> dict[int, Instance]:
        """Lists all instances and records their state. Returns this cluster's.

        By label, and by number where the ledger has it: a label can be changed by hand. An instance
        that is missing from the list counts as gone only if the API, asked for it alone, confirms
        it; otherwise it is added. `_unseen` says which could not be asked for.
        """
        with self._looking:
            asked, before = self._clock(), self._ledger.live()
            live = {rental.contract for rental in before}
            ours = self._market.instances(labelled=prefix(self._settings.cluster), known=live)
            listed = {item.id: item for item in ours if item.id in live or self._may_be_ours(item)}
            for instance in listed.values():
                with self._returning.writing():
                    self._ledger.observe(instance)
            self._incomplete = self._unseen = ""
            lacking = [
                rental
                for rental in before
                # A new instance may take a moment to be listed.
                if rental.contract not in listed and asked - rental.since >= self._patience.look
            ]
            for rental in lacking[:ASKED_ALONE]:
                self._ask_alone(rental.contract, listed)
            if len(lacking) > ASKED_ALONE:
                self._unseen = f"the list of instances lacks {len(lacking)} that were rented"
            self._incomplete = self._incomplete or self._unseen
            self._listed = (asked, listed)
            return listed

    def _ask_alone(self, contract: int, listed: dict[int, Instance]) -> None:
        """Adds an instance that a list lacks, or records that it is gone."""
        try:
            alone = self._market.instance(contract)
        except CloudError as error:
            # The others are looked at all the same: one may be outbid, and bill.
            self._unseen = f"the list of instances lacks {contract}: {error}"
            return
        with self._returning.writing():
            if alone is None:
                lost = taken_away("gone, but not ended by this cluster")
                self._returning.gone(contract, lost)
                return
            self._incomplete = f"the list of instances lacks {contract}, which exists"
            listed[contract] = alone
            self._ledger.observe(alone)

    def _may_be_ours(self, instance: Instance) -> bool:
        label = Label.parse(instance.label)
        return label is not None and label.may_be_of(self._settings.cluster, self._head)

    def step(self) -> None:
        """Lists all instances and acts on what it finds. Raises CloudError if it could not.

        A failed list changes nothing: no instance counts as gone, none is condemned by it.
        Instances condemned before, or over the cap by the clock, are destroyed all the same, even
        if the ledger cannot be written: that is raised at the end.
        """
        self._step()
        if self._returning.unwritten is not None:
            raise self._returning.unwritten

    def _step(self) -> None:
        with self._stepping:
            self._returning.unwritten = None
            try:
                self._look()
            finally:
                self._carry_out()
            with self._returning.writing():
                self.money.update()

    def _look(self) -> None:
        listed = self.refresh()
        asked = self._listed[0] if self._listed is not None else self._clock()
        for instance in listed.values():
            with self._returning.writing():
                self._judge(instance, asked)
        if self._incomplete:
            # It may lack a request's instance, too: none is given up by it.
            raise OddAnswerError(self._incomplete)
        # In this order: who is not pending any more has written what came of it.
        pending = self._launcher.answers_pending()
        for attempt in self._ledger.in_flight():
            waited = asked - attempt.sent_at
            if attempt.id not in pending and waited >= self._patience.settle:
                reason = f"no answer, and not listed {waited:.0f} s after it was sent"
                logger.warning("request %s: %s", attempt.id, reason)
                self._launcher.give_up(attempt, reason)

    def _carry_out(self) -> None:
        if self._closing and not self._ledger.closed():
            with self._returning.writing():
                self._ledger.close_cluster(self._closing)
        listed = () if self._listed is None else self._listed[1]
        over = self.money.end_reason(empty=self._seen_empty()) or self.closed()
        if over:
            # Including rented instances that could not be recorded.
            unknown = [contract for contract in listed if self._ledger.rental(contract) is None]
            for contract in [*(rental.contract for rental in self._ledger.live()), *unknown]:
                self.condemn(contract, returned(over))
        for contract in self._returning.due():
            self._returning.try_to_destroy(contract)

    def _judge(self, instance: Instance, asked: float) -> None:
        pending = self._launcher.answers_pending()
        rental = self._ledger.rental(instance.id)
        attempt = self._attempt_of(instance, rental)
        known = None
        if attempt is not None:
            link_up = self._link_up(attempt.k)
            known = Known(
                state=attempt.state,
                contract=attempt.contract,
                bid=attempt.bid,
                storage_per_hour=attempt.storage_per_hour,
                since=attempt.sent_at,
                silent_since=None if rental is None else rental.silent_since,
                link_up=link_up,
                answer_pending=attempt.id in pending,
                doomed="" if rental is None else rental.doomed,
                gpu=attempt.gpu,
                unlinked_since=self._link_times.closed_since(instance.id, link_up),
                linked=self._link_times.was_open(instance.id),
            )
        verdict = judge(
            instance,
            known,
            cluster=self._settings.cluster,
            head=self._head,
            now=self._clock(),
            patience=self._patience,
            price_tolerance=self._settings.price_tolerance,
        )
        if verdict.action is Action.ADOPT and attempt is not None:
            logger.info("instance %d is adopted: %s", instance.id, verdict.reason)
            self._ledger.rented(attempt.id, instance.id)
            self._ledger.observe(instance)
        elif verdict.action is Action.DESTROY:
            self._returning.remember(instance.id, verdict.ending)
            machine = instance.machine_id or (0 if attempt is None else attempt.machine)
            if verdict.avoid_machine:
                self._blame(instance.id, machine, verdict.reason, never_linked=verdict.never_linked)
            elif verdict.outbid and machine not in self._ledger.avoided():
                self._ledger.avoid(machine, verdict.reason, seconds=self._patience.outbid)
            if attempt is not None and attempt.state.in_flight:
                self._ledger.failed(attempt.id, verdict.reason, contract=instance.id)
            self._ledger.foreign(instance)
            self.condemn(instance.id, verdict.ending)
            if rental is not None and rental.ended_at is not None and rental.ended_at < asked:
                logger.warning("instance %d is listed although it was destroyed", instance.id)
                self._ledger.not_ended(instance.id)
        elif verdict.action is Action.KEEP and known is not None and known.link_up is not False:
            lasted = self._clock() - known.since
            if instance.status == "running" and lasted >= self._patience.proved:
                self._ledger.proved(instance.id)

    def _attempt_of(self, instance: Instance, rental: Rental | None) -> Attempt | None:
        """The attempt that rented an instance by the ledger, or else by its label."""
        if rental is not None:
            return None if rental.attempt is None else self._ledger.attempt(rental.attempt)
        label = Label.parse(instance.label)
        return None if label is None else self._ledger.find_attempt(label.attempt)

    def _blame(
        self, contract: int, machine: int, reason: str, *, never_linked: bool = False
    ) -> None:
        """Avoids a machine that is at fault; if that shows early, its launch counts as failed."""
        rental = self._ledger.rental(contract)
        if never_linked or (
            rental is not None and self._clock() - rental.since < self._patience.proved
        ):
            self._ledger.bad_worker(contract, reason, never_linked=never_linked)
        seconds = self._patience.avoid
        if never_linked and head_to_blame(self._ledger.machines_never_linked()):
            # It may be fine: it is tried again when the head can be reached.
            seconds = self._patience.backoff_most
        self._ledger.avoid(machine, reason, seconds=seconds)

    def loaded(self) -> dict[int, int]:
        """k and contract of all instances whose container has run, and that are to stay."""
        return {
            k: rental.contract
            for rental in self._ledger.live()
            if rental.ran and not self._is_to_end(rental)
            if (k := self._ledger.k_of(rental.contract)) is not None
        }

    # Returning

    def condemn(self, contract: int, ending: Ending) -> None:
        """Marks an instance to be destroyed, by the next step or by `destroy`.

        If that cannot be written, it is remembered.
        """
        self._returning.condemn(contract, ending)

    def destroy(self, contract: int, reason: str, *, bad: bool = False) -> bool:
        """Destroys an instance of this cluster. Returns whether it is gone; if not, later steps
        try again.

        Args:
            bad: its machine is faulty: it is avoided, and the next launch waits.

        Raises UnknownInstanceError for one that the ledger does not know.
        """
        rental = self._ledger.rental(contract)
        if rental is None:
            raise UnknownInstanceError(
                f"instance {contract} does not belong to the cluster {self._settings.cluster}"
            )
        if rental.ended_at is not None:
            return True
        if bad and not rental.doomed and rental.attempt is not None:
            with self._returning.writing():
                self._blame(contract, self._ledger.attempt(rental.attempt).machine, reason)
        self.condemn(contract, returned(reason))
        return self._returning.try_to_destroy(contract)

    def destroy_all(self, reason: str) -> list[int]:
        """Closes the cluster and destroys every instance of it.

        Returns the contracts that still exist after that; the daemon continues until none does.
        Raises CloudError if they could not be listed.
        """
        self._closing = reason
        self._step()
        left = self.refresh()
        if self._unseen:
            raise OddAnswerError(self._unseen)
        return sorted(left)

    def closed(self) -> str:
        """Why the cluster is closed to launches; empty while it is open."""
        return self._ledger.closed() or self._closing

    def open(self) -> None:
        """Allows launches again after `destroy_all`."""
        self._ledger.open_cluster()
        self._closing = ""

    # Money

    def budget(self) -> Budget:
        """The budget now."""
        return self.money.budget()

    def _seen_empty(self) -> bool:
        """Whether the last list showed nothing of this cluster."""
        return self._listed is not None and not self._incomplete and not self._listed[1]

    # Inside

    def _is_to_end(self, rental: Rental) -> bool:
        return bool(rental.doomed) or self._returning.is_remembered(rental.contract)

    def _nodes(self, rental: Rental) -> list[Node]:
        """One node, or none for an instance that this cluster did not request."""
        if rental.attempt is None:
            return []
        instance = None if self._listed is None else self._listed[1].get(rental.contract)
        return [node_of(self._ledger.attempt(rental.attempt), rental, instance)]
