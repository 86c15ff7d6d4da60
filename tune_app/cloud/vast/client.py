"""A small client of Vast.ai's HTTP API: it keeps the rate limits and classifies the errors.

Creating is sent once, whatever the answer; only harmless calls are repeated. The key is in one
header and nowhere else: no message, log line or repr holds it.

Source of the endpoints and their traps: https://docs.vast.ai/api-reference (August 2026).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from tune_app.cloud.errors import (
    NoAnswerError,
    NoSuchInstanceError,
    OddAnswerError,
    RateLimitedError,
    SearchQuotaError,
    UnreachableError,
)
from tune_app.cloud.market.instance_request import InstanceRequest
from tune_app.cloud.market.records import Charge, Instance, Offer
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.market.site import MarketSite
from tune_app.cloud.secrets.endpoint import checked_endpoint
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.vast.answers import (
    identity,
    read_charge,
    read_instance,
    read_offer,
    shown_instance,
)
from tune_app.cloud.vast.rate_limit import RateLimit
from tune_app.cloud.vast.refusals import error_of, new_contract
from tune_app.cloud.vast.search_filters import search_filters
from tune_app.cloud.vast.site import SITE

logger = logging.getLogger(__name__)

BASE_URL = "https://console.vast.ai"
MAXIMUM_PAGES = 200
MAXIMUM_ANSWER = 32 * 2**20
_DAY = 86_400.0


class VastClient:
    """Calls the API: a `Market`. Thread-safe."""

    def __init__(
        self,
        key: ApiKey,
        *,
        base_url: str = BASE_URL,
        rate_limit: RateLimit | None = None,
        timeout_s: float = 25.0,
        search_cache_s: float = 60.0,
        attempts: int = 2,
        retry_s: float = 2.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        heard: Callable[[float], None] = lambda _: None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """
        Args:
            base_url: https, or http to this machine.
            timeout_s: for connecting, for the answer's first byte, and for its rest.
            search_cache_s: how long a search is answered from memory.
            attempts: how often a call that may be repeated is sent.
            clock: seconds since 1970.
            heard: called with the API's own time, whenever an answer tells it.
            transport: another way to the API than the network, for tests.
        """
        self._base_url = checked_endpoint(base_url, what="base URL", secret="key")
        self._timeout_s = timeout_s
        self._rate_limit = rate_limit or RateLimit()
        self._search_cache_s = search_cache_s
        self._attempts = attempts
        self._retry_s = retry_s
        self._clock = clock
        self._sleep = sleep
        self._heard = heard
        self._key = key
        self._searches: dict[str, tuple[float, list[Offer]]] = {}
        self._quota_day: float | None = None
        self._search_lock = threading.Lock()
        # trust_env would let a .netrc replace the key, and a proxy's variable see it.
        self._http = httpx.Client(
            base_url=self._base_url,
            headers={"Authorization": f"Bearer {key.reveal()}"},
            timeout=timeout_s,
            trust_env=False,
            # A kept connection may have been closed by the server just when something is rented.
            limits=httpx.Limits(max_keepalive_connections=0),
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"VastClient({self._base_url!r})"

    @property
    def site(self) -> MarketSite:
        return SITE

    @property
    def base_url(self) -> str:
        return self._base_url

    def close(self) -> None:
        self._http.close()

    def ask(
        self, endpoint: str, method: str, path: str, *, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """An answer as it came, of a call that may be repeated. Raises CloudError."""
        return self._repeated(endpoint, method, path, query=query)

    def offers(self, rules: OfferRules, *, caps: bool = True) -> list[Offer]:
        """See `Market.offers`."""
        return self.search(search_filters(rules, caps=caps), disk_gb=rules.disk_gb)

    def search(
        self, filters: Mapping[str, Mapping[str, Any]], *, disk_gb: float, limit: int = 64
    ) -> list[Offer]:
        """Interruptible offers, cheapest first. The same search is asked once a minute at most.

        Offers that lack a value are left out; OddAnswerError if all do.
        """
        body = {
            **{name: dict(rule) for name, rule in sorted(filters.items())},
            "type": "bid",
            "order": [["dph_total", "asc"]],
            "limit": limit,
            "allocated_storage": float(disk_gb),
        }
        with self._search_lock:
            now = self._clock()
            if self._quota_day == now // _DAY:
                raise SearchQuotaError(
                    "the day's searches are used up; they return at midnight UTC"
                )
            question = json.dumps(body, sort_keys=True)
            asked, offers = self._searches.get(question, (-self._search_cache_s, []))
            if now - asked < self._search_cache_s:
                return list(offers)
            try:
                answer = self._repeated("search", "POST", "/api/v0/bundles/", body=body)
            except SearchQuotaError:
                self._quota_day = now // _DAY
                raise
            offers = _offers(answer.get("offers"))
            self._searches = {
                text: entry
                for text, entry in self._searches.items()
                if now - entry[0] < self._search_cache_s
            }
            self._searches[question] = (now, offers)
            return list(offers)

    def create(self, request: InstanceRequest, *, turn_within_s: float | None = None) -> int:
        """Rents and returns the contract's number. Sent once, never again.

        Raises CloudError: its `contract` has to be destroyed where there is one, and where
        `may_have_happened` the instance has to be looked for by its label.
        """
        self._rate_limit.wait("create", at_most=turn_within_s)
        body = {
            "client_id": "me",
            "image": request.image,
            "disk": request.disk_gb,
            "label": request.label,
            "onstart": request.start.onstart,
            "env": dict(request.start.env),
            "runtype": "ssh_direct",
            "price": request.bid,
            "target_state": "running",
            # If the machine is taken meanwhile, an error is better than a stopped instance.
            "cancel_unavail": True,
        }
        answer = self._send("create", "PUT", f"/api/v0/asks/{request.offer_id}/", body=body)
        contract = new_contract(answer)
        if contract is None:
            raise OddAnswerError(
                "the API says that it rented an instance, but not which: no new_contract"
            )
        return contract

    def instances(self, *, labelled: str = "", known: Collection[int] = ()) -> list[Instance]:
        """Every instance whose label begins so, of all pages. Raises rather than leaving one out.

        Of the account's other instances only the number is read.

        Args:
            known: contracts that belong to them, whatever their label says now.
        """
        found: dict[int, Instance | None] = {}
        token: str | None = None
        total: int | None = None
        seen: set[str] = set()
        for _ in range(MAXIMUM_PAGES):
            query = {} if token is None else {"after_token": token}
            answer = self._repeated("list", "GET", "/api/v1/instances/", query=query)
            for values in _objects(answer, "instances"):
                number, label = identity(values)
                ours = number in known or label.startswith(labelled)
                found[number] = read_instance(values) if ours else None
            if isinstance(answer.get("total_instances"), int):
                total = answer["total_instances"]
            token = _token(answer)
            if token is None:
                break
            if token in seen:
                raise OddAnswerError("the list of instances repeats itself")
            seen.add(token)
        else:
            raise OddAnswerError(f"the list of instances has over {MAXIMUM_PAGES} pages")
        if total is not None and len(found) < total:
            raise OddAnswerError(
                f"the list of instances has {len(found)} of the {total} that it announces"
            )
        return [instance for instance in found.values() if instance is not None]

    def instance(self, contract: int) -> Instance | None:
        """One instance, or None if it certainly does not exist."""
        try:
            answer = self._repeated("show", "GET", f"/api/v0/instances/{contract}/")
        except NoSuchInstanceError:
            return None
        if "instances" not in answer:
            raise OddAnswerError(f"the answer on instance {contract} does not mention it")
        return shown_instance(answer["instances"], contract)

    def destroy(self, contract: int) -> None:
        """Destroys an instance and ends its billing. One that is gone already is not an error."""
        try:
            self._repeated("destroy", "DELETE", f"/api/v0/instances/{contract}/", body={})
        except NoSuchInstanceError:
            return

    def charges(self, since: float, until: float) -> list[Charge]:
        """What each contract cost between two times, in seconds since 1970; whole days."""
        # A row may be dated midnight of its day: a later beginning would lose the first one.
        first = int(since // _DAY * _DAY)
        filters = {"day": {"gte": first, "lte": int(until)}, "type": {"in": ["instance"]}}
        query = {"select_filters": json.dumps(filters), "limit": "500"}
        charges: list[Charge] = []
        for _ in range(MAXIMUM_PAGES):
            answer = self._repeated("charges", "GET", "/api/v0/charges/", query=query)
            charges.extend(read_charge(values) for values in _objects(answer, "results"))
            token = _token(answer)
            if token is None:
                total = answer.get("total")
                if isinstance(total, int) and len(charges) < total:
                    raise OddAnswerError(
                        f"the list of charges has {len(charges)} of the {total} that it announces"
                    )
                return charges
            if token == query.get("after_token"):
                raise OddAnswerError("the list of charges repeats itself")
            query = {**query, "after_token": token}
        raise OddAnswerError(f"the list of charges has over {MAXIMUM_PAGES} pages")

    def credit(self) -> float:
        """Dollars left in the account. The cheapest way to try a key."""
        answer = self._repeated("user", "GET", "/api/v0/users/current/")
        credit = answer.get("credit")
        if isinstance(credit, bool) or not isinstance(credit, (int, float)):
            raise OddAnswerError("the account's credit is not a number")
        return float(credit)

    def _repeated(
        self,
        endpoint: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A call that may be sent again after a failure of the network or of the server."""
        for attempt in range(1, self._attempts + 1):
            self._rate_limit.wait(endpoint)
            try:
                return self._send(endpoint, method, path, query=query, body=body)
            except (NoAnswerError, RateLimitedError, UnreachableError) as error:
                if attempt == self._attempts:
                    raise
                logger.info("%s: %s; again in %g s", endpoint, error, self._retry_s * attempt)
                self._sleep(self._retry_s * attempt)
        raise AssertionError("at least one attempt is made")

    def _send(
        self,
        endpoint: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        # `from None`: an httpx error holds the request, and that holds the key.
        try:
            with self._http.stream(
                method, path, params=dict(query) if query else None, json=body
            ) as response:
                content = self._received(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise UnreachableError(
                f"{endpoint}: no connection to {self._base_url} ({type(error).__name__}); "
                "look at the network and at the base URL"
            ) from None
        except httpx.HTTPError as error:
            raise NoAnswerError(
                f"{endpoint}: no complete answer from {self._base_url} ({type(error).__name__})"
            ) from None
        told = _server_time(response)
        if told is not None:
            self._heard(told)
        return self._read(endpoint, response.status_code, content)

    def _received(self, response: httpx.Response) -> bytes:
        """The complete answer. httpx limits the wait for each piece, this their sum."""
        until = time.monotonic() + self._timeout_s
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if time.monotonic() > until or len(content) > MAXIMUM_ANSWER:
                raise httpx.ReadTimeout(f"over {self._timeout_s:g} s or {MAXIMUM_ANSWER:,} bytes")
        return bytes(content)

    def _read(self, endpoint: str, status: int, content: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        values = answer if isinstance(answer, dict) else {}
        if status == 200 and values and values.get("success") is not False:
            return values
        error = error_of(endpoint, status, values, secret=self._key.reveal())
        if isinstance(error, RateLimitedError):
            self._rate_limit.push_back(endpoint, self._retry_s)
        raise error


def _server_time(response: httpx.Response) -> float | None:
    """Seconds since 1970 from the header Date; None without a proper one."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def _objects(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    values = answer.get(name)
    if not isinstance(values, list) or not all(isinstance(item, dict) for item in values):
        raise OddAnswerError(f"the API's answer has no list of {name}")
    return values


def _token(answer: Mapping[str, Any]) -> str | None:
    token = answer.get("next_token")
    if token is not None and not (isinstance(token, str) and token):
        raise OddAnswerError("the token of the next page is not a text")
    return token


def _offers(values: object) -> list[Offer]:
    if not isinstance(values, list):
        raise OddAnswerError("the API's answer to a search has no list of offers")
    offers: list[Offer] = []
    odd: OddAnswerError | None = None
    for item in values:
        try:
            offers.append(read_offer(item if isinstance(item, dict) else {}))
        except OddAnswerError as error:
            odd = error
    if odd is not None:
        if not offers:
            raise odd
        logger.warning("%d offers left out, e.g.: %s", len(values) - len(offers), odd)
    return offers
