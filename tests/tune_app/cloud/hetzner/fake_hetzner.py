"""Hetzner Cloud on loopback: a real HTTP server with the documented shapes, and their failures.

It knows servers, server types, SSH keys, actions and prices; names are unique, creating takes a few
looks, and what a test wants to go wrong it says by `fail`.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

LOCATIONS = ("fsn1", "nbg1", "hel1")
TAX = 1.19
HOURS = 625
"""After which a server costs no more in a month."""


class Fault(enum.Enum):
    """What goes wrong at the next call of an endpoint."""

    DONE_THEN_504 = "carried out, and answered with a page of HTML under HTTP 504"
    DONE_THEN_SILENCE = "carried out, and not answered until the end"
    DONE_THEN_CUT_OFF = "carried out, and answered with JSON that breaks off"
    DONE_LATE = "HTTP 504; carried out all the same, and listed after some looks"
    REFUSED_502 = "nothing done, HTTP 502"
    RESET = "nothing done, and the connection is closed"
    RATE_LIMITED = "rate_limit_exceeded"
    LOCKED = "locked"
    MAINTENANCE = "maintenance"
    UNAVAILABLE = "resource_unavailable"
    LIMIT = "resource_limit_exceeded"
    PROTECTED = "protected"
    READ_ONLY = "token_readonly"
    ECHO = "invalid_input, whose message holds the token and the order"
    EMPTY_LIST = "a list without entries, though there is one"
    NO_LIST = "an object without the list"
    REDIRECT = "HTTP 307 to elsewhere"
    ACTION_FAILS = "accepted, and the action fails"
    NEVER_RUNS = "accepted, and initializing for ever"


_REFUSALS = {
    Fault.RATE_LIMITED: 429,
    Fault.LOCKED: 423,
    Fault.MAINTENANCE: 503,
    Fault.UNAVAILABLE: 422,
    Fault.LIMIT: 403,
    Fault.PROTECTED: 423,
    Fault.READ_ONLY: 403,
}


def server_type(
    number: int, name: str, euros: float, *, open_in: tuple[str, ...] = LOCATIONS
) -> dict[str, Any]:
    """A server type as the API gives it; euros a month without tax."""
    return {
        "id": number,
        "name": name,
        "description": name.upper(),
        "category": "cost_optimized",
        "cores": 2,
        "memory": 4.0,
        "disk": 40,
        "storage_type": "local",
        "cpu_type": "shared",
        "architecture": "x86",
        "deprecated": False,
        "deprecation": None,
        "prices": [_price(location, euros) for location in LOCATIONS],
        "locations": [
            {
                "id": index,
                "name": location,
                "deprecation": None,
                "available": location in open_in,
                "recommended": location in open_in,
            }
            for index, location in enumerate(LOCATIONS, 1)
        ],
    }


def _price(location: str, euros: float) -> dict[str, Any]:
    def texts(amount: float) -> dict[str, str]:
        return {"net": f"{amount:.10f}", "gross": f"{amount * TAX:.16f}"}

    return {
        "location": location,
        "price_hourly": texts(euros / HOURS),
        "price_monthly": texts(euros),
    }


class FakeHetzner:
    """The server; a context manager."""

    def __init__(self, *, token: str = "h" * 64, looks: int = 2) -> None:
        """
        Args:
            looks: how often a server is looked at before it runs, and before it is gone.
        """
        self.token = token
        self.looks = looks
        self.late = 3
        """Looks until a server is listed whose order was answered before it was carried out."""
        self.types = [server_type(1, "cx23", 3.0), server_type(2, "cpx62", 90.0)]
        self.ipv4_euros = 0.5
        self.currency = "EUR"
        self.servers: dict[int, dict[str, Any]] = {}
        self.keys: dict[int, dict[str, Any]] = {}
        self.actions: dict[int, dict[str, Any]] = {}
        self.orders: list[dict[str, Any]] = []
        self.calls: Counter[str] = Counter()
        self._left: dict[int, int] = {}
        self._hidden: dict[int, int] = {}
        self._stuck: set[int] = set()
        self._faults: dict[str, list[Fault | None]] = {}
        self._next = 100
        self._lock = threading.RLock()
        self._go = threading.Event()
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        server.fake = self  # type: ignore[attr-defined]
        self._server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}/v1"

    def __enter__(self) -> FakeHetzner:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._server.shutdown()
        self._server.server_close()

    # What a test does to it

    def fail(self, endpoint: str, *faults: Fault | None) -> None:
        """The next calls of an endpoint ("POST servers", "GET servers/#" …) fail so, or not."""
        self._faults.setdefault(endpoint, []).extend(faults)

    def add(self, name: str, *, labels: dict[str, str] | None = None) -> dict[str, Any]:
        """A server that somebody made in the console."""
        with self._lock:
            made = self._made(
                {"name": name, "labels": labels or {}, "location": "nbg1", "server_type": "cx23"}
            )
            made["status"] = "running"
            return made

    # Endpoints

    def answer(  # noqa: PLR0911 - one line a refusal
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any], token: str
    ) -> tuple[int, Any]:
        """Status and JSON, or a status and raw bytes; 0 for no answer."""
        parts = path.removeprefix("/v1/").split("/")
        number = next((int(part) for part in parts if part.isdigit()), 0)
        endpoint = f"{method} " + "/".join("#" if part.isdigit() else part for part in parts)
        with self._lock:
            self.calls[endpoint] += 1
            if token != self.token:
                return _refused(401, "unauthorized", "unable to authenticate")
            waiting = self._faults.get(endpoint)
            fault = waiting.pop(0) if waiting else None
            if fault in _REFUSALS:
                return _refused(_REFUSALS[fault], fault.value, f"it is {fault.value}")
            if fault is Fault.ECHO:
                text = f"cannot read {token} and {body.get('user_data', '')}"
                return _refused(422, "invalid_input", text)
            if fault is Fault.REFUSED_502:
                return 502, b"<html>Bad Gateway</html>"
            if fault is Fault.REDIRECT:
                return 307, b""
            if fault is Fault.RESET:
                return 0, b""
            status, answer = self._act(endpoint, number, query, body, fault)
        return self._spoilt(status, answer, fault)

    def _spoilt(self, status: int, answer: Any, fault: Fault | None) -> tuple[int, Any]:
        if fault is Fault.DONE_THEN_SILENCE:
            self._go.wait(30)
            return 0, b""
        if fault in (Fault.DONE_THEN_504, Fault.DONE_LATE):
            return 504, b"<html>Gateway Time-out</html>"
        if fault is Fault.DONE_THEN_CUT_OFF:
            whole = json.dumps(answer).encode()
            return status, whole[: len(whole) // 2]
        if fault is Fault.NO_LIST:
            return status, {"meta": answer["meta"]}
        if fault is Fault.EMPTY_LIST:
            return status, {name: value for name, value in answer.items() if name == "meta"} | {
                name: [] for name in answer if name != "meta"
            }
        return status, answer

    def _act(  # noqa: PLR0911 - one line an endpoint
        self,
        endpoint: str,
        number: int,
        query: dict[str, str],
        body: dict[str, Any],
        fault: Fault | None,
    ) -> tuple[int, Any]:
        if endpoint == "GET server_types":
            return 200, _page("server_types", _named(self.types, query), query)
        if endpoint == "GET pricing":
            return 200, {"pricing": self._pricing()}
        if endpoint == "GET ssh_keys":
            return 200, _page("ssh_keys", _named(list(self.keys.values()), query), query)
        if endpoint == "POST ssh_keys":
            return self._create_key(body)
        if endpoint == "DELETE ssh_keys/#":
            return (204, b"") if self.keys.pop(number, None) else _not_found("ssh_key")
        if endpoint == "GET servers":
            self._step()
            listed = [item for item in self.servers.values() if item["id"] not in self._hidden]
            return 200, _page("servers", _named(listed, query), query)
        if endpoint == "POST servers":
            return self._create(body, fault)
        if endpoint == "GET actions/#":
            self._step()
            return 200, {"action": self.actions[number]}
        server = self.servers.get(number)
        if server is None:
            return _not_found("server")
        if endpoint == "GET servers/#":
            self._step()
            return 200, {"server": server}
        if endpoint == "POST servers/#/actions/poweron":
            server["status"] = "running"
            return 201, {"action": self._action("start_server", number)}
        if endpoint == "DELETE servers/#":
            server["status"] = "deleting"
            self._left[number] = self.looks
            return 200, {"action": self._action("delete_server", number)}
        return _not_found(endpoint)

    def _step(self) -> None:
        """What goes on between two looks."""
        for number in list(self._hidden):
            self._hidden[number] -= 1
            if not self._hidden[number]:
                del self._hidden[number]
        for number, left in list(self._left.items()):
            server = self.servers[number]
            if number in self._stuck:
                continue
            self._left[number] = left - 1
            if left <= 0:
                del self._left[number]
                if server["status"] == "deleting":
                    del self.servers[number]
                else:
                    server["status"] = "running"

    def _create(self, body: dict[str, Any], fault: Fault | None) -> tuple[int, Any]:
        self.orders.append(body)
        if any(server["name"] == body["name"] for server in self.servers.values()):
            return _refused(409, "uniqueness_error", "server name is already used")
        if body["server_type"] not in [item["name"] for item in self.types]:
            return _refused(422, "invalid_input", "server type not found")
        if not set(body["ssh_keys"]) <= self.keys.keys():
            return _refused(422, "invalid_input", "SSH key not found")
        if len(body["user_data"]) > 32 * 1024:
            return _refused(422, "invalid_input", "user_data is too long")
        server = self._made(body)
        self._left[server["id"]] = self.looks
        if fault in (Fault.NEVER_RUNS, Fault.ACTION_FAILS):
            self._stuck.add(server["id"])
        if fault is Fault.DONE_LATE:
            self._hidden[server["id"]] = self.late
        action = self._action("create_server", server["id"])
        if fault is Fault.ACTION_FAILS:
            action |= {"status": "error", "error": {"code": "action_failed", "message": "no host"}}
        password = None if body["ssh_keys"] else "by e-mail"
        return 201, {
            "server": server,
            "action": action,
            "next_actions": [],
            "root_password": password,
        }

    def _made(self, body: dict[str, Any]) -> dict[str, Any]:
        self._next += 1
        number = self._next
        kind = next(item for item in self.types if item["name"] == body["server_type"])
        self.servers[number] = {
            "id": number,
            "name": body["name"],
            "status": "initializing",
            "created": "2026-11-21T15:00:00+00:00",
            "public_net": {
                "ipv4": {
                    "id": number + 1000,
                    "ip": f"192.0.2.{number % 250}",
                    "blocked": False,
                    "dns_ptr": "static.example.invalid",
                },
                "ipv6": {
                    "id": number + 2000,
                    "ip": "2001:db8::/64",
                    "blocked": False,
                    "dns_ptr": [],
                },
                "floating_ips": [],
                "firewalls": [],
            },
            "private_net": [],
            "server_type": kind,
            "location": {"id": 2, "name": body["location"]},
            "image": None,
            "iso": None,
            "rescue_enabled": False,
            "locked": False,
            "labels": body["labels"],
            "volumes": [],
            "protection": {"delete": False, "rebuild": False},
        }
        return self.servers[number]

    def _create_key(self, body: dict[str, Any]) -> tuple[int, Any]:
        digest = hashlib.md5(base64.b64decode(body["public_key"].split()[1])).hexdigest()
        marks = ":".join(digest[at : at + 2] for at in range(0, 32, 2))
        if any(key["fingerprint"] == marks for key in self.keys.values()):
            return _refused(409, "uniqueness_error", "SSH key not unique")
        self._next += 1
        self.keys[self._next] = body | {
            "id": self._next,
            "fingerprint": marks,
            "created": "2026-11-21T15:00:00+00:00",
        }
        return 201, {"ssh_key": self.keys[self._next]}

    def _action(self, command: str, server: int) -> dict[str, Any]:
        self._next += 1
        self.actions[self._next] = {
            "id": self._next,
            "command": command,
            "status": "success",
            "progress": 100,
            "started": "2026-11-21T15:00:00+00:00",
            "finished": None,
            "resources": [{"id": server, "type": "server"}],
            "error": None,
        }
        return self.actions[self._next]

    def _pricing(self) -> dict[str, Any]:
        prices = [_price(location, self.ipv4_euros) for location in LOCATIONS]
        free = [_price(location, 0.0) for location in LOCATIONS]
        return {
            "currency": self.currency,
            "vat_rate": "19.00",
            "primary_ips": [{"type": "ipv6", "prices": free}, {"type": "ipv4", "prices": prices}],
            "server_types": [],
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together

    def _serve(self) -> None:
        fake: FakeHetzner = self.server.fake  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        status, answer = fake.answer(
            self.command, parts.path, query, json.loads(raw) if raw else {}, token
        )
        if status == 0:
            self.close_connection = True
            return
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        try:
            self.send_response(status)
            if status == 307:
                self.send_header("Location", f"{fake.url}/elsewhere")
            self.send_header("Content-Type", "application/json")
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the asker is gone
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        """A test's output is its own."""


def _named(items: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    """The filters that the API has."""
    label, _, value = query.get("label_selector", "").partition("=")
    return [
        item
        for item in items
        if query.get("name") in (None, item["name"])
        and query.get("fingerprint") in (None, item.get("fingerprint"))
        and (not label or item["labels"].get(label) == value)
    ]


def _page(name: str, items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    page, size = int(query.get("page", 1)), int(query.get("per_page", 25))
    last = max(1, -(-len(items) // size))
    return {
        name: items[(page - 1) * size : page * size],
        "meta": {
            "pagination": {
                "page": page,
                "per_page": size,
                "previous_page": page - 1 or None,
                "next_page": page + 1 if page < last else None,
                "last_page": last,
                "total_entries": len(items),
            }
        },
    }


def _refused(status: int, code: str, message: str) -> tuple[int, Any]:
    return status, {"error": {"code": code, "message": message, "details": {}}}


def _not_found(what: str) -> tuple[int, Any]:
    return _refused(404, "not_found", f"{what} not found")
