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
from typing import Any
from urllib.parse import parse_qs, urlsplit

HOURS_PER_MONTH = 720.0
PAGE = 25
SECONDS_BETWEEN = {
    "create": 4.5,
    "destroy": 3.0,
    "list": 1.0,
    "show": 2.0,
    "bid": 5.5,
    "label": 1.0,
    "charges": 1.0,
}


class Fault(enum.Enum):
    """What goes wrong at the next call of an endpoint."""

    CREATED_THEN_500 = "created, and answered with HTTP 502"
    CREATED_THEN_SILENCE = "created, and not answered until `let_go`"
    REFUSED_500 = "nothing done, HTTP 502"
    SILENCE = "nothing done, and not answered until `let_go`"
    WRONG_PRICE = "created at twice the bid"
    ON_DEMAND = "created on demand, though a bid was sent"
    NEVER_LOADS = "created, and loading for ever"
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
    gpu: float = 0.0
    disk: float = 0.0
    down: float = 0.0
    up: float = 0.0
    destroyed: float | None = None
    reached: dict[str, Any] = field(default_factory=dict)
    """What the start hook says of the way in: public_ipaddr, ports, ssh_host, ssh_port."""

    @property
    def dollars(self) -> float:
        return self.gpu + self.disk + self.down + self.up


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
        self.instances: dict[int, FakeInstance] = {}
        self.calls: Counter[str] = Counter()
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.own_key_may = {"destroy", "stop"}
        """What the key that an instance finds in its environment may do with that instance."""
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
            instance.down += down_gb * instance.offer["inet_down_cost"]
            instance.up += up_gb * instance.offer["inet_up_cost"]

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
        hours = max(0.0, now - instance.billed_until) / 3600
        instance.billed_until = max(now, instance.billed_until)
        if instance.state == "running" and not instance.stopped:
            instance.gpu += hours * instance.price
        if instance.state != "offline":
            instance.disk += hours * _storage(instance)

    def _end(self, instance: FakeInstance) -> None:
        running, instance.destroyed = instance.state == "running", self.clock()
        if running:
            self._stopped(instance)

    # Endpoints

    def answer(  # noqa: PLR0911 - one line a refusal
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any], key: str
    ) -> tuple[int, Any]:
        """Status and JSON, or a status and raw bytes."""
        endpoint, number = _endpoint(method, path)
        with self._lock:
            self.calls[endpoint] += 1
            self.bodies.append((endpoint, body))
            if key == own_key(number) and endpoint in {"destroy", "label"}:
                act = "stop" if endpoint == "label" else endpoint
                if act not in self.own_key_may or set(body) - {"state"}:
                    return 403, {"success": False, "error": "forbidden", "msg": act}
            elif key != self.key:
                return 404, {"success": False, "error": "auth_error", "msg": "Invalid user key"}
            now = self.clock()
            if self.limits and now - self._last.get(endpoint, -1e9) < SECONDS_BETWEEN.get(
                endpoint, 0.0
            ):
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
            if fault is not Fault.SILENCE:
                status, answer = self._act(endpoint, number, query, body, fault)
        if fault in (Fault.SILENCE, Fault.CREATED_THEN_SILENCE):
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
            return self._charges()
        if endpoint == "user":
            spent = sum(item.dollars for item in self.instances.values())
            return 200, {"id": 1, "credit": round(self.credit - spent, 6)}
        if endpoint == "v0_list":
            return 410, {"success": False, "error": "gone", "msg": "use /api/v1/instances/"}
        instance = self.instances.get(number)
        if instance is None or instance.destroyed is not None:
            return 404, {"success": False, "error": "no_such_instance", "msg": f"{number}"}
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
        if len(str(body.get("label", ""))) > 256 or len(str(body.get("onstart", ""))) > 4_096:
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

    def _charges(self) -> tuple[int, dict[str, Any]]:
        rows = [
            {
                "type": "instance",
                "source": f"instance-{item.id}",
                "description": item.label,
                "amount": item.dollars,
                "metadata": {"label": item.label},
                "items": [
                    {"type": "gpu", "amount": item.gpu},
                    {"type": "disk", "amount": item.disk},
                    {"type": "bw_down", "amount": item.down},
                    {"type": "bw_up", "amount": item.up},
                ],
            }
            for item in self.instances.values()
        ]
        return 200, {"success": True, "count": len(rows), "results": rows, "next_token": None}

    def _shown(self, instance: FakeInstance) -> dict[str, Any]:
        state = "stopped" if instance.stopped else "running"
        reached = instance.reached if instance.state == "running" else {}
        return {
            "id": instance.id,
            "machine_id": instance.offer["machine_id"],
            "label": instance.label,
            "actual_status": instance.state or None,
            "intended_status": state,
            "cur_state": state,
            "next_state": state,
            "status_msg": "",
            "is_bid": instance.is_bid,
            "min_bid": instance.offer["min_bid"],
            "dph_total": instance.price + _storage(instance),
            "gpu_name": instance.offer["gpu_name"],
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

    def log_message(self, *_: object) -> None:
        """A test's output is its own."""


def own_key(number: int) -> str:
    """The key of an instance alone, which it has as CONTAINER_API_KEY."""
    return f"key-of-instance-{number}"


def _endpoint(method: str, path: str) -> tuple[str, int]:
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
