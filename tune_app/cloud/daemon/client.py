"""A client of the cloud's daemon. Holds no key and no state."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tune_app.cloud.daemon.protocol import (
    MAXIMUM_ANSWER,
    MAXIMUM_REQUEST,
    DaemonError,
    DrainOrder,
    Status,
    decode,
    encode,
    raise_error,
    read_drain,
    read_node,
    read_status,
)
from tune_app.cloud.renting.workers import Node
from tune_app.dollars.bill import Bill

SOCKET_VARIABLE = "STELLUX_CLOUD_SOCKET"
DEFAULT_SOCKET = Path("/run/stellux/cloud.sock")


def default_socket() -> Path:
    return Path(os.environ.get(SOCKET_VARIABLE, DEFAULT_SOCKET))


def daemon_here() -> DaemonClient | None:
    """A client of the daemon on this machine; None if this is not a cluster's head."""
    try:
        return DaemonClient() if default_socket().is_socket() else None
    except OSError:  # of a folder that this user may not look into
        return None


Exchange = Callable[[bytes], bytes]
"""Sends a request's line to the daemon and returns the answer's; raises OSError."""


class DaemonClient:
    """One connection for each call. Thread-safe.

    Args:
        path: of the daemon's socket on this machine.
        exchange: another way to the daemon than that.

    Every method raises DaemonError if the daemon does not answer: the rented machines are then
    unknown, and the same request may be sent again without renting twice. A refusal raises its own
    class (`tune_app.cloud.errors`).
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        timeout_s: float = 70.0,
        exchange: Exchange | None = None,
    ) -> None:
        self._path = path or default_socket()
        self._timeout_s = timeout_s
        self._exchange = exchange or self._over_socket

    def create(self, node_type: str, request: str) -> Node:
        """Rents a worker; answers within a minute, long before it runs.

        Args:
            request: the same id again returns the same worker.

        Raises a LaunchError or CloudError if nothing is rented, UncertainError and InFlightError
        if that is not known yet.
        """
        return read_node(self._ask({"op": "create", "node_type": node_type, "request": request}))

    def nodes(self) -> list[Node]:
        """All rented workers that are to stay. Raises rather than leaving one out.

        For Ray's autoscaler: where nobody asks for 15 minutes, the workers are ended. Who only
        wants prices takes the nodes of `status`.
        """
        found = self._ask({"op": "list"})
        if not isinstance(found, list):
            raise DaemonError("the cloud daemon's list of workers is not a list")
        return [read_node(values) for values in found]

    def destroy(self, contract: int, reason: str = "asked for", *, bad: bool = False) -> bool:
        """Destroys a worker. Returns whether it is gone; if not, the daemon keeps trying.

        Args:
            bad: its machine is avoided, and the launch counts as failed.
        """
        request = {"op": "destroy", "contract": contract, "reason": reason, "bad": bad}
        return bool(self._ask(request))

    def destroy_all(self, reason: str = "asked for") -> list[int]:
        """Destroys every worker and rents none until `open`. Returns the contracts left."""
        left = self._ask({"op": "destroy_all", "reason": reason})
        if not isinstance(left, list):
            raise DaemonError("the cloud daemon does not say which instances are left")
        return left

    def open(self) -> None:
        """Allows launches again after `destroy_all`."""
        self._ask({"op": "open"})

    def bill(self, working: Iterable[int] = ()) -> Bill:
        """What every machine has cost. It does not count as asking for the list of workers.

        Args:
            working: contracts of machines on which the caller's cells train.
        """
        values = self._ask({"op": "bill", "working": sorted(working)})
        try:
            return Bill.from_values(values)
        except ValueError as error:
            raise DaemonError(f"the cloud daemon's bill cannot be read: {error}") from error

    def status(self) -> Status:
        return read_status(self._ask({"op": "status"}))

    def drain(self, driver: str) -> DrainOrder:
        """Asks whether all work has to be saved and paused; to be called every few seconds.

        It also tells the daemon that this driver has work to save: a drain waits for those that
        asked within the last minute. It does not count as asking for the list of workers.

        Args:
            driver: a name of its own among all drivers on this head, the sweep's for instance.
        """
        return read_drain(self._ask({"op": "drain", "driver": driver}))

    def drained(self, driver: str, number: int) -> None:
        """Says that all cells of a driver are saved and paused, so workers may be destroyed.

        Args:
            number: of the drain; the word counts for no other one.
        """
        self._ask({"op": "drained", "driver": driver, "number": number})

    def _ask(self, request: dict[str, Any]) -> Any:
        line = encode(request, MAXIMUM_REQUEST)
        try:
            received = self._exchange(line)
        except OSError as error:
            raise DaemonError(
                f"the cloud daemon at {self._path} does not answer ({error}); "
                "check that it runs: systemctl status stellux-cloud"
            ) from error
        try:
            answer = decode(received, MAXIMUM_ANSWER)
        except ValueError as error:
            raise DaemonError(
                f"the cloud daemon at {self._path} ended its answer early: {error}"
            ) from error
        raise_error(answer)
        return answer["result"]

    def _over_socket(self, line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self._timeout_s)
            connection.connect(str(self._path))
            connection.sendall(line)
            with connection.makefile("rb") as reader:
                return reader.readline(MAXIMUM_ANSWER)
