"""The steps of a rehearsal: the cheapest machine is rented for minutes, watched, and destroyed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tune_app.cloud.errors import CloudError, MissingScopeError
from tune_app.cloud.market.instance_request import InstanceRequest, WorkerStart
from tune_app.cloud.market.labels import Label
from tune_app.cloud.market.records import HOURS_PER_MONTH, Instance, Quote
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.rehearsal.findings import Finding, compared
from tune_app.cloud.rehearsal.image_script import CHECKS, image_script, told_by
from tune_app.cloud.rehearsal.loading_charge import Stay, loading_is_free
from tune_app.cloud.renting.offers import NoOffer, search_and_choose
from tune_app.cloud.vast.client import VastClient
from tune_app.cloud.vast.site import SITE

CLUSTER = "rehearsal"
START_LENGTH = 4_048
ENV_LENGTH = 256
LOOK_EVERY_S = 10.0
TELL_S = 120.0
"""How long a running container has to tell what it found."""
DESTROY_TRIES = 60
SETTLE_S = 180.0
"""How long an instance may stay unlisted whose request had no clear answer."""

Say = Callable[[str], object]


class Rehearsal:
    """One rehearsal; `findings` grow as it goes, and hold what was seen if it breaks off."""

    def __init__(
        self,
        client: VastClient,
        rules: OfferRules,
        *,
        image: str,
        cap_dollars: float,
        minutes: float,
        say: Say,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            cap_dollars: nothing is rented of which `minutes` and the image could cost more.
            minutes: after these it is destroyed, whatever was seen.
        """
        self._client, self._rules, self._image = client, rules, image
        self._cap, self._minutes, self._say = cap_dollars, minutes, say
        self._clock, self._sleep = clock, sleep
        self._label = Label(
            cluster=CLUSTER, node_type="worker", k=2, attempt=f"r{int(clock())}.1"
        ).text
        self._unsure = False
        self.findings: list[Finding] = []

    def run(self) -> None:
        """All steps. Raises ValueError if nothing fits under the cap, and CloudError.

        Whatever happens, Ctrl-C too, what was rented is destroyed before this returns or raises.
        """
        quote = self.look_before()
        self._say(f"renting offer {quote.offer.id} at ${quote.per_hour:.3f}/h")
        with self._ended_for_sure():
            requested = self._clock()
            contract = self._create(quote)
            began = self._watch(contract, quote)
            self._destroy(contract)
            ended = self._clock()
        ran = (0.0, 0.0) if began is None else (ended - began[1], ended - began[0])
        self._charges(contract, quote, Stay(existed=ended - requested, ran=ran))

    def look_before(self) -> Quote:
        """What costs nothing: the key, the bill, the offers. Returns what would be rented."""
        self._note("the key may see the account's credit", self._credit)
        self._note("the key may see the charges (billing_read)", self._may_see_charges)
        found = search_and_choose(self._client, self._rules)
        if isinstance(found, NoOffer):
            raise ValueError(found.reason)
        quote = found.quote
        most = quote.per_hour * self._minutes / 60 + quote.setup
        if most > self._cap:
            raise ValueError(
                f"{self._minutes:g} minutes of the cheapest offer may cost ${most:.2f} with the "
                f"image, more than the cap of ${self._cap:.2f}; take fewer minutes"
            )
        self._found("an offer meets the caps", holds=True, seen=found.reason)
        return quote

    # Steps

    def _credit(self) -> tuple[bool, str]:
        return True, "yes" if self._client.credit() > 0 else "yes; there is none left"

    def _may_see_charges(self) -> tuple[bool, str]:
        now = self._clock()
        try:
            self._client.charges(now - 86_400, now)
        except MissingScopeError as error:
            return False, str(error)
        return True, "yes"

    def _create(self, quote: Quote) -> int:
        script = image_script(self._label, self._client.base_url, length=START_LENGTH)
        self._unsure = True
        contract = self._client.create(
            InstanceRequest(
                offer_id=quote.offer.id,
                bid=quote.bid,
                label=self._label,
                image=self._image,
                disk_gb=self._rules.disk_gb,
                start=WorkerStart(onstart=script, env={"STELLUX_LONG": "x" * ENV_LENGTH}),
            )
        )
        self._unsure = False
        self._found(
            f"a start script of {START_LENGTH:,} and a value of {ENV_LENGTH} characters are taken",
            holds=True,
            seen="yes",
        )
        self._note("a new instance is listed at once, by its label", self._listed)
        self._note("total_instances counts what the pages of the list have", self._total)
        shown = self._raw(contract)
        nulls = sorted(name for name, value in shown.items() if value is None)
        self._found("fields may be null while it is created", holds=True, seen=", ".join(nulls))
        return contract

    def _listed(self) -> tuple[bool, str]:
        found = [one for one in self._client.instances() if one.label == self._label]
        return len(found) == 1, f"{len(found)} with its label"

    def _total(self) -> tuple[bool | None, str]:
        answer = self._client.ask("list", "GET", "/api/v1/instances/")
        total, listed = answer.get("total_instances"), len(answer["instances"])
        if answer.get("next_token") is not None:
            return None, "there is more than one page"
        return total == listed, f"{total} announced, {listed} listed"

    def _raw(self, contract: int) -> dict[str, Any]:
        shown = self._client.ask("show", "GET", f"/api/v0/instances/{contract}/")["instances"]
        return shown if isinstance(shown, dict) else {}

    def _watch(self, contract: int, quote: Quote) -> tuple[float, float] | None:
        """Between which two looks it began to run; None if it did not."""
        started = self._clock()
        end, running_since = started + self._minutes * 60, None
        looked = started
        statuses: list[str] = []
        seen: Instance | None = None
        while self._clock() < end:
            now_seen = self._client.instance(contract)
            if now_seen is None:
                self._found("it exists until it is destroyed", holds=False, seen="it is gone")
                return None
            seen = now_seen
            if seen.status not in statuses:
                statuses.append(seen.status)
                self._say(f"{self._clock() - started:.0f} s: {seen.status or 'not started'}")
            if seen.status == "running":
                running_since = running_since or self._clock()
                if told_by(seen.label) or self._clock() - running_since >= TELL_S:
                    break
            else:
                looked = self._clock()
            if seen.is_stopped:
                break
            self._sleep(LOOK_EVERY_S)
        if seen is not None:
            self._agreed(seen, quote, started)
        took = None if running_since is None else running_since - started
        self._found(
            "it runs within 15 minutes",
            holds=None if took is None and self._minutes < 15 else took is not None and took < 900,
            seen=f"{' → '.join(one or 'null' for one in statuses)}; "
            + ("never ran" if took is None else f"ran after {took:.0f} s"),
        )
        told = {} if seen is None else told_by(seen.label)
        self._found(
            "the instance's own key may change it",
            holds=True if told else None,
            seen="its label" if told else "nothing was told: not allowed, or no curl",
        )
        for name in CHECKS:
            holds = told.get(name)
            self._found(f"in the container: {name}", holds=holds, seen=holds)
        return None if running_since is None else (looked, running_since)

    def _agreed(self, seen: Instance, quote: Quote, started: float) -> None:
        storage = quote.storage_per_hour
        price, agreed = seen.dollars_per_hour, quote.bid + storage
        self._found("it is interruptible", holds=seen.is_bid, seen=seen.is_bid)
        self._found(
            "dph_total is the bid and the storage",
            holds=None if price is None else abs(price - agreed) < 0.02 * agreed,
            seen=f"{price} of {quote.bid:.4f} + {storage:.4f}; fee {seen.fee_per_hour}",
        )
        gpu = seen.gpu_dollars_per_hour
        self._found(
            "dph_base is the bid",
            holds=None if gpu is None else abs(gpu - quote.bid) < 1e-3,
            seen=f"{gpu} of {quote.bid:.4f}",
        )
        self._found(
            "it has the offer's GPU",
            holds=seen.gpu_name.replace("_", " ") == quote.offer.gpu_name,
            seen=f"{seen.gpu_name} of {quote.offer.gpu_name}",
        )
        self._found(
            f"a month of storage has {HOURS_PER_MONTH:g} hours",
            holds=None if price is None or gpu is None else abs(price - gpu - storage) < 1e-4,
            seen="unknown" if price is None or gpu is None else f"{price - gpu:.5f} $/h",
        )
        self._found(
            "start_date is when it was created",
            holds=None if seen.started is None else abs(seen.started - started) < 120,
            seen="null" if seen.started is None else f"{seen.started - started:+.0f} s",
        )

    def _destroy(self, contract: int) -> None:
        self._client.destroy(contract)
        self._note("destroying a missing one is told from other errors", self._again(contract))
        shown = self._client.ask("show", "GET", f"/api/v0/instances/{contract}/").get("instances")
        self._found(
            "a missing instance is shown as null, [] or {}",
            holds=shown in (None, [], {}),
            seen="an object" if shown else repr(shown),
        )

    def _again(self, contract: int) -> Callable[[], tuple[bool, str]]:
        def again() -> tuple[bool, str]:
            self._client.destroy(contract)
            return True, "yes"

        return again

    def _charges(self, contract: int, quote: Quote, stay: Stay) -> None:
        now = self._clock()
        filters = f'{{"day": {{"gte": {int(now // 86_400 * 86_400)}, "lte": {int(now)}}}}}'
        try:
            rows = self._client.ask(
                "charges", "GET", "/api/v0/charges/", query={"select_filters": filters}
            ).get("results", [])
        except CloudError as error:
            self._found("charges appear at once", holds=None, seen=error)
            return
        own = [row for row in rows if str(row.get("source", "")).endswith(f"-{contract}")]
        said = {name: own[0].get(name) for name in ("start", "end", "amount")} if own else "not yet"
        self._found("charges have a row for it", holds=bool(own) or None, seen=said)
        gpu = sum(
            float(item["amount"])
            for row in own
            for item in row.get("items", [])
            if item.get("type") == "gpu"
        )
        self._found(
            "a loading image bills no GPU",
            holds=loading_is_free(gpu, stay, gpu_per_hour=quote.bid),
            seen=f"${gpu:.4f} by now; {stay.told(quote.bid)}",
        )

    # Inside

    @contextmanager
    def _ended_for_sure(self) -> Iterator[None]:
        """Whatever bears the rehearsal's label is destroyed, and the list seen without it."""
        try:
            yield
        finally:
            interrupted, until = False, self._clock() + (SETTLE_S if self._unsure else 0.0)
            for _ in range(DESTROY_TRIES):
                try:
                    left = {one.id for one in self._client.instances(labelled=self._label)}
                    if not left and self._clock() >= until:
                        break
                    for one in left:
                        with suppress(CloudError):
                            self._client.destroy(one)
                    self._sleep(LOOK_EVERY_S if not left else 0.0)
                except CloudError as error:
                    self._say(f"not destroyed yet: {error}")
                    self._sleep(LOOK_EVERY_S)
                except KeyboardInterrupt:
                    # It costs money: a second Ctrl-C does not leave it there.
                    interrupted = True
            else:
                self._say(
                    f"it could not be destroyed: end what is labelled {self._label} at "
                    f"{SITE.instances}"
                )
            if interrupted:
                raise KeyboardInterrupt

    def _found(self, assumption: str, *, holds: bool | None, seen: object) -> None:
        finding = compared(assumption, holds=holds, seen=seen)
        self.findings.append(finding)

    def _note(self, assumption: str, look: Callable[[], tuple[bool | None, str]]) -> None:
        try:
            holds, seen = look()
        except CloudError as error:
            holds, seen = False, str(error)
        self._found(assumption, holds=holds, seen=seen)
