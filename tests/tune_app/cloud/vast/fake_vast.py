"""Vast.ai on loopback: a real HTTP server with the documented endpoints, clocks and traps.

It bills, paginates, limits rates and fails the way the API is documented or reported to. What a
test wants of it, it sets: offers, faults, the clock. Where an instance starts to run and where its
processes end, hooks are called, so that real processes can stand behind it.
"""

from __future__ import annotations

import base64
import enum
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.tune_app.cloud.vast.fake_bill import Bill, charge_rows

HOURS_PER_MONTH = 720.0
"""As in Vast.ai's own example of what storage costs."""
PAGE = 25
ENV_LIMIT = 256
ONSTART_LIMIT = 4_048
SECONDS_BETWEEN = {
    "create": 4.5,
    "destroy": 3.0,
    "list": 1.0,
    "show": 2.0,
    "bid": 5.5,
    "label": 1.0,
    "charges": 1.0,
}
SCOPES = {
    "search": "misc",
    "create": "instance_write",
    "destroy": "instance_write",
    "label": "instance_write",
    "list": "instance_read",
    "show": "instance_read",
    "charges": "billing_read",
    "user": "user_read",
}
"""What a key must be allowed, by endpoint."""


class Fault(enum.Enum):
    """What goes wrong at the next call of an endpoint."""

    CREATED_THEN_500 = "created, and answered with HTTP 502"
    CREATED_THEN_SILENCE = "created, and not answered until `let_go`"
    REFUSED_500 = "nothing done, HTTP 502"
    SILENCE = "nothing done, and not answered until `let_go`"
    WRONG_PRICE = "created at twice the bid"
    ON_DEMAND = "created on demand, though a bid was sent"
    NEVER_LOADS = "created, and loading for ever"
    WRONG_GPU = "created with another GPU than the offer's"
    NO_BUT_YES = "nothing done, though the answer is success"
    APPEARS_LATE = "answered with HTTP 502; listed only after `late_s`"
    UNAVAILABLE = "nothing done, HTTP 410: the machine is busy and `cancel_unavail` was sent"
    HTML = "a page of HTML under HTTP 200"
    CUT_OFF = "JSON that breaks off"
    NO_LIST = "a JSON object without the list"
    ODD_ITEM = "a list with an entry that lacks its number"
    UNSUCCESSFUL = "success: false under HTTP 200"
    EMPTY = "a list without entries, though there are some"
    SHORT = "a list without its last entry"
    CIRCLE = "a next page that is this one"


@dataclass
class FakeInstance:
    """An instance that exists, and bills."""

    id: int
    offer: dict[str, Any]
    label: str
    price: float
    is_bid: bool
    disk_gb: float
    created: float
    order: dict[str, Any]
    loads_at: float
    listed_from: float
    state: str = ""
    """actual_status; empty before the host answered."""
    stopped: bool = False
    billed_until: float = 0.0
    bill: Bill = field(default_factory=Bill)
    gpu_name: str = ""
    destroyed: float | None = None
    spoilt: dict[str, Any] = field(default_factory=dict)
    """Values that are listed instead of the right ones."""
    reached: dict[str, Any] = field(default_factory=dict)
    """What the start hook says of the way in: public_ipaddr, ports, ssh_host, ssh_port."""

    @property
    def gpu(self) -> float:
        return self.bill.of("gpu")

    @property
    def disk(self) -> float:
        return self.bill.of("disk")

    @property
    def down(self) -> float:
        return self.bill.of("bw_down")

    @property
    def up(self) -> float:
        return self.bill.of("bw_up")

    @property
    def dollars(self) -> float:
        return self.bill.total


def offer(number: int, **values: Any) -> dict[str, Any]:
    """An offer as the API gives it; `values` replace the defaults of a good RTX 4090."""
    return {
        "id": number,
        "machine_id": 1_000 + number,
        "host_id": 7,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "gpu_ram": 24_564,
        "cpu_cores_effective": 16.0,
        "cpu_ram": 64_000,
        "disk_space": 500.0,
        "min_bid": 0.20,
        "dph_base": 0.40,
        "dph_total": 0.41,
        "storage_cost": 0.15,
        "inet_up_cost": 0.002,
        "inet_down_cost": 0.002,
        "inet_down": 800.0,
        "inet_up": 400.0,
        "reliability2": 0.995,
        "cuda_max_good": 13.0,
        "duration": 30 * 86_400.0,
        "rentable": True,
        "verified": True,
    } | values


class FakeVast:
    """The server; a context manager. `started` and `stopped` are called with the instance.

    Args:
        ready: asked again and again once `load_s` are over; the instance loads until it says yes.
        listening: the socket to serve on, which is closed at the end; else one on loopback.
    """

    def __init__(
        self,
        offers: list[dict[str, Any]] | None = None,
        *,
        key: str = "secret-key-of-the-account",
        clock: Callable[[], float] = time.time,
        credit: float = 100.0,
        load_s: float = 0.0,
        late_s: float = 30.0,
        limits: bool = False,
        searches_a_day: int = 1_000,
        ready: Callable[[FakeInstance], bool] = lambda _: True,
        started: Callable[[FakeInstance], dict[str, Any] | None] = lambda _: None,
        stopped: Callable[[FakeInstance], None] = lambda _: None,
        listening: socket.socket | None = None,
    ) -> None:
        self.offers = {item["id"]: item for item in (offers or [offer(1), offer(2), offer(3)])}
        self.key = key
        self.clock = clock
        self.credit = credit
        self.load_s = load_s
        self.late_s = late_s
        self.limits = limits
        self.searches_a_day = searches_a_day
        self.scopes = frozenset(SCOPES.values())
        """What the key may do."""
        self.missing: Any = None
        """How an instance that does not exist is shown: null, or an empty list."""
        self.missing_code = "not_found"
        """The error of destroying one; no_such_instance in other pages of the documents."""
        self.fee_per_hour = 0.0
        """A platform fee: billed, and part of dph_total."""
        self.fee_shown = True
        """Whether it is listed by itself, too."""
        self.loading_bills = False
        """Whether a loading image bills the GPU; the documents say that it does not."""
        self.null_at_first = frozenset({"ssh_host", "ssh_port", "status_msg", "start_date"})
        """Fields that are null until the host has answered."""
        self.charges_late_s = 0.0
        """How long a charge takes to appear; the row of its day grows."""
        self.env_limit = ENV_LIMIT
        self.waits = True
        """Whether silence takes its time; a transport without a network ends it at once."""
        self.instances: dict[int, FakeInstance] = {}
        self.calls: Counter[str] = Counter()
        self.too_fast: Counter[str] = Counter()
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.own_key_may = {"destroy", "stop"}
        """What the key that an instance finds in its environment may do with that instance."""
        self.may_not_destroy: set[int] = set()
        """Instances whose own key may not, whatever others' may."""
        self._ready, self._started, self._stopped = ready, started, stopped
        self._faults: dict[str, list[Fault | tuple[int, Any]]] = {}
        self._last: dict[str, float] = {}
        self._searches: Counter[int] = Counter()
        self._sold: set[int] = set()
        self._next = 5_000_000
        self._lock = threading.RLock()
        self._go = threading.Event()
        listening = listening or socket.create_server(("127.0.0.1", 0))
        server = ThreadingHTTPServer(listening.getsockname(), _Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listening
        server.daemon_threads = True
        server.fake = self  # type: ignore[attr-defined]
        self._server = server
        self.url = "http://{}:{}".format(*listening.getsockname())

    def __enter__(self) -> FakeVast:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._server.shutdown()
        self._server.server_close()
        for instance in self.alive():
            self._end(instance)

    def serve_at(self, listening: socket.socket) -> None:
        """Answers there too, until somebody shuts the socket down."""

        def serve() -> None:
            while True:
                try:
                    self._server.process_request(*listening.accept())
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()

    # What a test does to it

    def fail(self, endpoint: str, *faults: Fault) -> None:
        """The next calls of an endpoint (search, create, list, show, destroy …) fail so."""
        self._faults.setdefault(endpoint, []).extend(faults)

    def say(self, endpoint: str, status: int, answer: dict[str, Any] | bytes) -> None:
        """The next call of an endpoint does nothing, and is answered so."""
        self._faults.setdefault(endpoint, []).append((status, answer))

    def mend(self) -> None:
        """No call fails any more."""
        self._faults.clear()

    def let_go(self) -> None:
        """Those who wait for an answer get none, now."""
        self._go.set()
        self._go = threading.Event()

    def alive(self) -> list[FakeInstance]:
        """Instances that exist, whatever their state."""
        self.tick()
        return [item for item in self.instances.values() if item.destroyed is None]

    def most_at_once(self) -> int:
        """The most instances that existed at the same time, until now."""
        made = [(item.created, 1) for item in self.instances.values()]
        ended = [
            (item.destroyed, -1) for item in self.instances.values() if item.destroyed is not None
        ]
        # Of the same moment, an end comes first.
        changes = [change for _, change in sorted(made + ended)]
        return max(accumulate(changes), default=0)

    def billed(self) -> float:
        """Dollars for everything until now."""
        self.tick()
        return sum(item.dollars for item in self.instances.values())

    def outbid(self, number: int) -> None:
        """Somebody bids more: the processes are killed and the instance is stopped."""
        with self._lock:
            self.tick()
            instance = self.instances[number]
            instance.stopped = True
            self._set_state(instance, "exited")

    def set_state(self, number: int, state: str) -> None:
        """offline, unknown, running, exited …"""
        with self._lock:
            self.tick()
            self._set_state(self.instances[number], state)

    def transfer(self, number: int, *, down_gb: float = 0.0, up_gb: float = 0.0) -> None:
        """Bills bandwidth, which is billed in every state."""
        with self._lock:
            instance = self.instances[number]
            now = self.clock()
            instance.bill.add("bw_down", down_gb * instance.offer["inet_down_cost"], now)
            instance.bill.add("bw_up", up_gb * instance.offer["inet_up_cost"], now)

    def tick(self) -> None:
        """Brings states and bills up to the clock."""
        with self._lock:
            now = self.clock()
            for instance in self.instances.values():
                if instance.destroyed is not None:
                    continue
                if (
                    instance.state in ("", "loading")
                    and now >= instance.loads_at
                    and self._ready(instance)
                ):
                    self._bill(instance, max(instance.billed_until, instance.loads_at))
                    instance.reached = self._started(instance) or {}
                    instance.state = "running"
                self._bill(instance, now)
                if instance.state == "" and now > instance.created:
                    instance.state = "loading"
            if self.credit - sum(item.dollars for item in self.instances.values()) <= 0:
                for instance in self.instances.values():
                    if instance.destroyed is None and not instance.stopped:
                        instance.stopped = True
                        self._set_state(instance, "exited")

    def _set_state(self, instance: FakeInstance, state: str) -> None:
        was_running, instance.state = instance.state == "running", state
        if state == "running" and not was_running:
            instance.reached = self._started(instance) or {}
        if was_running and (instance.stopped or state == "exited"):
            instance.reached = {}
            self._stopped(instance)

    def _bill(self, instance: FakeInstance, now: float) -> None:
        since, instance.billed_until = instance.billed_until, max(now, instance.billed_until)
        billing = {"running", "frozen"} | ({"", "loading"} if self.loading_bills else set())
        if instance.state in billing and not instance.stopped:
            instance.bill.run("gpu", instance.price + self.fee_per_hour, since, now)
        if instance.state != "offline":
            instance.bill.run("disk", _storage(instance), since, now)

    def _end(self, instance: FakeInstance) -> None:
        running, instance.destroyed = instance.state == "running", self.clock()
        if running:
            self._stopped(instance)

    # Endpoints

    def answer(  # noqa: PLR0911, PLR0912 - one line a refusal
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any], key: str
    ) -> tuple[int, Any]:
        """Status and JSON, or a status and raw bytes."""
        endpoint, number = endpoint_of(method, path)
        with self._lock:
            self.calls[endpoint] += 1
            self.bodies.append((endpoint, body))
            if key == own_key(number) and endpoint in {"destroy", "label"}:
                act = "stop" if endpoint == "label" else endpoint
                refused = act == "destroy" and number in self.may_not_destroy
                if refused or act not in self.own_key_may or set(body) - {"state"}:
                    return 403, {"success": False, "error": "forbidden", "msg": act}
            elif key != self.key:
                return 404, {"success": False, "error": "auth_error", "msg": "Invalid user key"}
            if SCOPES.get(endpoint, "misc") not in self.scopes:
                return 403, {"success": False, "error": "forbidden", "msg": "missing permission"}
            now = self.clock()
            if self.limits and now - self._last.get(endpoint, -1e9) < SECONDS_BETWEEN.get(
                endpoint, 0.0
            ):
                self.too_fast[endpoint] += 1
                return 429, {"success": False, "msg": "API requests too frequent"}
            self._last[endpoint] = now
            self.tick()
            waiting = self._faults.get(endpoint)
            fault = waiting.pop(0) if waiting else None
            if isinstance(fault, tuple):
                return fault
            if fault is Fault.REFUSED_500:
                return 502, b"<html>Bad Gateway</html>"
            if fault is Fault.UNAVAILABLE:
                return 410, {"success": False, "error": "3907", "msg": "the GPU is in use"}
            if fault is Fault.NO_BUT_YES:
                return 200, {"success": True}
            if fault is not Fault.SILENCE:
                status, answer = self._act(endpoint, number, query, body, fault)
        if fault in (Fault.SILENCE, Fault.CREATED_THEN_SILENCE):
            if self.waits:
                self._go.wait(30)
            return 0, b""
        if fault in (Fault.CREATED_THEN_500, Fault.APPEARS_LATE):
            return 502, b"<html>Bad Gateway</html>"
        return _spoilt(status, answer, fault)

    def _act(  # noqa: PLR0911 - one line an endpoint
        self,
        endpoint: str,
        number: int,
        query: dict[str, str],
        body: dict[str, Any],
        fault: Fault | None,
    ) -> tuple[int, Any]:
        if endpoint == "search":
            return self._search(body)
        if endpoint == "create":
            return self._create(number, body, fault)
        if endpoint == "list":
            return self._list(query)
        if endpoint == "charges":
            return self._charges(query)
        if endpoint == "user":
            spent = sum(item.dollars for item in self.instances.values())
            return 200, {"id": 1, "credit": round(self.credit - spent, 6)}
        if endpoint == "v0_list":
            return 410, {"success": False, "error": "gone", "msg": "use /api/v1/instances/"}
        instance = self.instances.get(number)
        if instance is None or instance.destroyed is not None:
            if endpoint == "show":
                return 200, {"instances": self.missing}
            said = f"Instance {number} not found."
            return 404, {"success": False, "error": self.missing_code, "msg": said}
        if endpoint == "show":
            return 200, {"instances": self._shown(instance)}
        if endpoint == "destroy":
            self._bill(instance, self.clock())
            self._end(instance)
            self._sold.discard(instance.offer["id"])
            return 200, {"success": True}
        if endpoint == "label" and body.get("state") == "stopped":
            instance.stopped = True
            self._set_state(instance, "exited")
            return 200, {"success": True}
        if endpoint == "label":
            instance.label = str(body.get("label", instance.label))
            return 200, {"success": True}
        return 404, {"success": False, "error": "no_such_endpoint"}

    def _search(self, body: dict[str, Any]) -> tuple[int, Any]:
        day = int(self.clock() // 86_400)
        self._searches[day] += 1
        if self._searches[day] > self.searches_a_day:
            return 429, {"success": False, "error": "search_quota_exceeded", "msg": "until 0:00"}
        rules = {name: rule for name, rule in body.items() if isinstance(rule, dict)}
        found = [
            item
            for item in self.offers.values()
            if item["id"] not in self._sold
            and all(_passes(item.get(name), rule) for name, rule in rules.items())
        ]
        found.sort(key=lambda item: float(item["dph_total"]))
        return 200, {"offers": found[: min(64, int(body.get("limit", 64)))]}

    def _create(  # noqa: PLR0911 - one line a refusal
        self, number: int, body: dict[str, Any], fault: Fault | None
    ) -> tuple[int, dict[str, Any]]:
        item = self.offers.get(number)
        if item is None or number in self._sold:
            return 404, {"success": False, "error": "no_such_ask", "msg": "error 3603"}
        if self.credit <= sum(one.dollars for one in self.instances.values()):
            return 400, {"success": False, "error": "insufficient_credit", "msg": "add credit"}
        if (
            len(str(body.get("label", ""))) > 256
            or len(str(body.get("onstart", ""))) > ONSTART_LIMIT
            or any(len(str(value)) > self.env_limit for value in (body.get("env") or {}).values())
        ):
            return 400, {"success": False, "error": "invalid_args", "msg": "too long"}
        if float(body.get("disk", 0)) < 8:
            return 400, {"success": False, "error": "invalid_args", "msg": "disk below 8 GB"}
        bid = body.get("price")
        if bid is not None and not float(bid) > 0:
            return 400, {"success": False, "error": "invalid_price", "msg": str(bid)}
        on_demand = bid is None or fault is Fault.ON_DEMAND
        price = float(item["dph_base"] if bid is None or on_demand else bid)
        now = self.clock()
        self._next += 1
        instance = FakeInstance(
            id=self._next,
            offer=item,
            label=str(body.get("label", "")),
            price=2 * price if fault is Fault.WRONG_PRICE else price,
            is_bid=not on_demand,
            disk_gb=float(body["disk"]),
            created=now,
            order=body,
            loads_at=float("inf") if fault is Fault.NEVER_LOADS else now + self.load_s,
            listed_from=now + (self.late_s if fault is Fault.APPEARS_LATE else 0.0),
            billed_until=now,
            gpu_name="RTX 3060" if fault is Fault.WRONG_GPU else str(item["gpu_name"]),
        )
        self.instances[instance.id] = instance
        self._sold.add(number)
        if not on_demand and price < float(item["min_bid"]):
            instance.stopped, instance.state = True, "exited"
            return 400, {
                "success": False,
                "error": "invalid_price",
                "msg": "bid is below the minimum",
                "new_contract": instance.id,
            }
        self.tick()
        return 200, {
            "success": True,
            "new_contract": instance.id,
            "instance_api_key": own_key(instance.id),
        }

    def _list(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        now = self.clock()
        listed = [item for item in self.alive() if item.listed_from <= now]
        after = int(base64.b64decode(query["after_token"])) if "after_token" in query else 0
        page = [item for item in listed if item.id > after][:PAGE]
        more = bool(page) and page[-1].id < listed[-1].id
        return 200, {
            "success": True,
            "instances": [self._shown(item) for item in page],
            "instances_found": len(page),
            "total_instances": len(listed),
            "next_token": base64.b64encode(str(page[-1].id).encode()).decode() if more else None,
        }

    def _charges(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        day = json.loads(query.get("select_filters", "{}")).get("day", {})
        if not {"gte", "lte"} <= set(day):
            return 400, {"success": False, "msg": "Must provide both 'day' gte and lte filters"}
        rows = charge_rows(
            {item.id: (item.label, item.bill) for item in self.instances.values()},
            first=float(day["gte"]),
            last=float(day["lte"]),
            known_until=self.clock() - self.charges_late_s,
        )
        page = max(1, min(500, int(query.get("limit", 100))))
        start = int(base64.b64decode(query["after_token"])) if "after_token" in query else 0
        end = start + page
        more = base64.b64encode(str(end).encode()).decode() if end < len(rows) else None
        return 200, {
            "success": True,
            "count": len(rows[start:end]),
            "total": len(rows),
            "results": rows[start:end],
            "next_token": more,
        }

    def _shown(self, instance: FakeInstance) -> dict[str, Any]:
        state = "stopped" if instance.stopped else "running"
        reached = instance.reached if instance.state == "running" else {}
        shown = {
            "id": instance.id,
            "machine_id": instance.offer["machine_id"],
            "label": instance.label or None,
            "actual_status": instance.state or None,
            "intended_status": state,
            "cur_state": state,
            "next_state": state,
            "status_msg": "",
            "is_bid": instance.is_bid,
            "min_bid": instance.offer["min_bid"],
            "dph_base": instance.price,
            "dph_total": instance.price + _storage(instance) + self.fee_per_hour,
            "gpu_name": instance.gpu_name,
            "num_gpus": instance.offer["num_gpus"],
            "cpu_cores_effective": instance.offer["cpu_cores_effective"],
            "disk_space": instance.disk_gb,
            "storage_cost": instance.offer["storage_cost"],
            "start_date": instance.created,
            "end_date": instance.created + instance.offer["duration"],
            "public_ipaddr": reached.get("public_ipaddr"),
            "ports": reached.get("ports"),
            "ssh_host": reached.get("ssh_host", "ssh1.example.invalid"),
            "ssh_port": reached.get("ssh_port", 10_000 + instance.id % 10_000),
            "extra_env": [],
        }
        if self.fee_per_hour and self.fee_shown:
            shown["platform_fee"] = self.fee_per_hour
        if not instance.state:
            shown |= dict.fromkeys(self.null_at_first)
        return shown | instance.spoilt


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together

    def _serve(self) -> None:
        fake: FakeVast = self.server.fake  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        status, answer = fake.answer(
            self.command, parts.path, query, json.loads(raw) if raw else {}, key
        )
        if status == 0:
            self.close_connection = True
            return
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the asker is gone
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The server's own time."""
        fake: FakeVast = self.server.fake  # type: ignore[attr-defined]
        return super().date_time_string(fake.clock() if timestamp is None else timestamp)

    def log_message(self, *_: object) -> None:
        """A test's output is its own."""


def own_key(number: int) -> str:
    """The key of an instance alone, which it has as CONTAINER_API_KEY."""
    return f"key-of-instance-{number}"


def endpoint_of(method: str, path: str) -> tuple[str, int]:
    """The endpoint's name and the number in the path."""
    parts = [part for part in path.split("/") if part][1:]
    number = next((int(part) for part in parts if part.isdigit()), 0)
    named = {
        ("POST", "v0 bundles"): "search",
        ("PUT", "v0 asks #"): "create",
        ("GET", "v1 instances"): "list",
        ("GET", "v0 instances"): "v0_list",
        ("GET", "v0 instances #"): "show",
        ("PUT", "v0 instances #"): "label",
        ("DELETE", "v0 instances #"): "destroy",
        ("GET", "v0 charges"): "charges",
        ("GET", "v0 users current"): "user",
    }
    shape = " ".join("#" if part.isdigit() else part for part in parts)
    return named.get((method, shape), "unknown"), number


def _passes(value: Any, rule: dict[str, Any]) -> bool:
    compare: dict[str, Callable[[Any], bool]] = {
        "eq": lambda limit: value == limit,
        "in": lambda limit: value in limit,
        "notin": lambda limit: value not in limit,
        "gte": lambda limit: value is not None and value >= limit,
        "lte": lambda limit: value is not None and value <= limit,
    }
    return all(compare[name](limit) for name, limit in rule.items())


def _storage(instance: FakeInstance) -> float:
    """$/h."""
    return instance.disk_gb * float(instance.offer["storage_cost"]) / HOURS_PER_MONTH


def _spoilt(  # noqa: PLR0911 - one line a fault
    status: int, answer: Any, fault: Fault | None
) -> tuple[int, Any]:
    name = next((key for key in ("instances", "offers", "results") if key in answer), "")
    whole = json.dumps(answer).encode()
    if fault is Fault.HTML:
        return 200, b"<html>Maintenance</html>"
    if fault is Fault.CUT_OFF:
        return status, whole[: len(whole) // 2]
    if fault is Fault.NO_LIST:
        return status, {"success": True}
    if fault is Fault.ODD_ITEM:
        return status, answer | {name: [*answer[name], {"label": "no number"}]}
    if fault is Fault.UNSUCCESSFUL:
        return 200, {"success": False, "error": "server_busy", "msg": "try again"}
    if fault is Fault.EMPTY:
        return status, {"success": True, name: [], "next_token": None}
    if fault is Fault.SHORT:
        return status, {"success": True, name: answer[name][:-1], "next_token": None}
    if fault is Fault.CIRCLE:
        return status, answer | {"next_token": "MQ=="}
    return status, answer
