"""The only process that holds the account's key, and the only one that rents.

python -m tune_app.cloud.daemon SETTINGS --state FOLDER < key

With --overlay and --overlay-folder, workers get keys of their own, and who loses its link is ended.

The key comes over standard input. Whoever may open the socket may ask for workers within the cap,
see them and end them; nothing else. Killed at any moment, the next one goes on from the ledger.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from cyclopts import App
from filelock import FileLock, Timeout

from tune_app.cloud.daemon.client import default_socket
from tune_app.cloud.daemon.lost_workers import ending_lost
from tune_app.cloud.daemon.overlay import with_overlay
from tune_app.cloud.daemon.protocol import (
    MAXIMUM_ANSWER,
    MAXIMUM_REQUEST,
    DaemonError,
    decode,
    encode,
    error_message,
    node_message,
)
from tune_app.cloud.daemon.socket_peer import peer_user, refuse_to_open
from tune_app.cloud.errors import CloudError, UncertainError, WrongKeyError
from tune_app.cloud.ledger.file import ledger_path
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.overlay.watch import LinkWatch
from tune_app.cloud.renting.rentals import Rentals
from tune_app.cloud.renting.settings import CloudSettings, load_settings
from tune_app.cloud.renting.verdicts import head_to_blame
from tune_app.cloud.renting.workers import WorkerSetup
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.vast.client import VastClient
from tune_app.cloud.vast.labels import prefix
from tune_app.cloud.vast.rate_limit import Pace
from tune_app.command_line import run_command

MODULE = "tune_app.cloud.daemon"
MAXIMUM_KEY = 4_096
MAXIMUM_CONNECTIONS = 32
MAXIMUM_SOCKET_PATH = 100
IDLE_S = 30.0

logger = logging.getLogger(MODULE)  # run as a command, __name__ is another

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main(
    settings: Path,
    *,
    state: Path,
    socket: Path | None = None,
    group: str | None = None,
    overlay: Path | None = None,
    overlay_folder: Path | None = None,
) -> int:
    """Rent and watch workers until SIGTERM. The key comes over standard input.

    Parameters
    ----------
    settings
        A JSON file: see tune_app/cloud/renting/settings.py.
    state
        Folder of the ledgers, each below its cluster's name; one daemon works in it at a time.
    socket
        Where to listen; default STELLUX_CLOUD_SOCKET, or /run/stellux/cloud.sock.
    group
        Whose members may ask, too; default only this user.
    overlay
        A JSON file: see tune_app/cloud/overlay/settings.py; default no links to workers.
    overlay_folder
        Of the head's keys and of whom they let in.
    """
    logging.getLogger("tune_app").setLevel(logging.INFO)
    # No core file either, which would hold the key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told = load_settings(settings)
    setup = links = None
    if overlay is not None and overlay_folder is not None:
        told, setup, links = with_overlay(told, overlay, overlay_folder)
    elif overlay is not None or overlay_folder is not None:
        raise ValueError("--overlay and --overlay-folder belong together; give both, or neither")
    key = read_key(sys.stdin.buffer)
    serve(told, key, state=state, path=socket, group=group, setup=setup, links=links)
    return 0


def read_key(stream: BinaryIO) -> ApiKey:
    """The key in a stream's first line. Raises ValueError where there is none."""
    line = stream.readline(MAXIMUM_KEY)
    text = line.decode("ascii", errors="replace").strip()
    if not text:
        raise ValueError("no key came over standard input; write the Vast.ai key there, one line")
    return ApiKey(text)


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
    """Works until SIGTERM or SIGINT. Nothing is destroyed then: workers outlive the daemon.

    Args:
        state: folder of all clusters' ledgers.
        path: of the socket.
        group: whose members may open it, besides this user.
        setup: see `Rentals`.
        links: watched while it works; whoever loses its link is ended.

    Raises ValueError where another daemon works in the folder or the socket's path cannot be, and
    WrongKeyError where the API refuses the key.
    """
    path = (path or default_socket()).absolute()
    if len(os.fsencode(path)) > MAXIMUM_SOCKET_PATH:
        raise ValueError(
            f"the socket's path {path} has over {MAXIMUM_SOCKET_PATH} bytes; choose a shorter one"
        )
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (
        _alone(state),
        Ledger.open(
            ledger_path(state, settings.cluster),
            cluster=settings.cluster,
            slots=range(settings.first_k, settings.last_k + 1),
        ) as ledger,
    ):
        client = VastClient(
            key,
            base_url=settings.base_url,
            pace=Pace(settings.seconds_between, margin_s=settings.pace_margin),
            timeout_s=settings.patience.http,
            retry_s=settings.patience.retry,
        )
        _try_key(client, prefix(settings.cluster))
        link_up = None if links is None else links.link_up
        rentals = Rentals(settings, client, ledger, setup=setup, link_up=link_up)
        try:
            with nullcontext() if links is None else ending_lost(links, rentals):
                Daemon(settings, rentals, ledger).run(path, group)
        finally:
            client.close()


def _try_key(client: VastClient, labelled: str) -> None:
    try:
        # By what it needs most: a scoped key may not be allowed to see the credit.
        client.instances(labelled=labelled)
    except WrongKeyError:
        raise
    except CloudError as error:
        # What is rented has to be watched all the same.
        logger.warning("the key could not be tried: %s", error)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    lock = FileLock(state / "daemon.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"another cloud daemon works in {state}; end that one first: systemctl stop "
            "stellux-cloud"
        ) from None
    try:
        yield
    finally:
        lock.release()


class Daemon:
    """Answers clients, and looks at all instances again and again."""

    def __init__(self, settings: CloudSettings, rentals: Rentals, ledger: Ledger) -> None:
        self._settings = settings
        self._rentals = rentals
        self._ledger = ledger
        self._ended = threading.Event()
        self._looked_at: float | None = None
        self._trouble = "not looked yet"
        self._launches = ThreadPoolExecutor(MAXIMUM_CONNECTIONS, thread_name_prefix="launch")

    def run(self, path: Path, group: str | None) -> None:
        """Listens at `path` until SIGTERM or SIGINT."""
        watch = threading.Thread(target=self._watch, name="watch", daemon=True)
        with _listening(path, group, self) as server:
            for number in (signal.SIGTERM, signal.SIGINT):
                # From a thread of its own: shutdown() waits for the loop that is interrupted here.
                signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
            watch.start()
            logger.info("listening at %s for the cluster %s", path, self._settings.cluster)
            server.serve_forever(poll_interval=0.1)
        self._ended.set()
        self._launches.shutdown(wait=True, cancel_futures=True)
        watch.join(self._settings.patience.create)

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                self._rentals.step()
                self._looked_at, self._trouble = time.time(), ""
            except CloudError as error:
                self._trouble = str(error)
                logger.warning("%s", error)
            except Exception as error:
                # Whoever watches what costs money does not stop at a defect.
                self._trouble = f"a defect: {error}"
                logger.exception("a defect")
            self._ended.wait(self._settings.patience.poll)

    def answer(self, request: dict[str, Any]) -> Any:
        """What a request comes to. Raises what `errors` has, and ValueError for what is none."""
        operations: dict[str, Callable[[dict[str, Any]], Any]] = {
            "create": self._create,
            "list": lambda _: [node_message(node) for node in self._rentals.nodes()],
            "destroy": lambda asked: self._rentals.destroy(
                _whole(asked, "contract"),
                _text(asked, "reason"),
                bad=asked.get("bad") is True,
            ),
            "destroy_all": lambda asked: self._rentals.destroy_all(_text(asked, "reason")),
            "open": lambda _: self._rentals.open(),
            "status": lambda _: self._status(),
        }
        name = request.get("op")
        if not isinstance(name, str) or name not in operations:
            raise ValueError(f"there is no {str(name)[:40]!r}; there are {', '.join(operations)}")
        return operations[name](request)

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        node_type, request = _text(asked, "node_type"), _text(asked, "request")
        launch = self._launches.submit(self._rentals.create, node_type, request)
        try:
            return node_message(launch.result(timeout=self._settings.patience.create))
        except FutureTimeoutError:
            raise UncertainError(
                f"request {request} is not through after {self._settings.patience.create:g} s; "
                "it goes on: ask again later"
            ) from None

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
                rental.ended_reason for rental in rentals if rental.ended_at is not None
            ),
            "failures": failures,
            "avoided": {str(machine): reason for machine, reason in self._ledger.avoided().items()},
            "gpu_hours": sum(rental.gpu_hours for rental in rentals),
            "looked_at": self._looked_at,
            "trouble": self._trouble,
        }


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = MAXIMUM_CONNECTIONS

    def __init__(self, path: Path, daemon: Daemon) -> None:
        self.daemon = daemon
        self._free = threading.BoundedSemaphore(MAXIMUM_CONNECTIONS)
        super().__init__(str(path), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class _Handler(socketserver.StreamRequestHandler):
    timeout = IDLE_S

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        try:
            while line := self.rfile.readline(MAXIMUM_REQUEST):
                if not self._answer(server.daemon, line):
                    return
        except OSError as error:  # the asker is gone, or silent for too long
            logger.debug("a connection ended: %s", error)

    def _answer(self, daemon: Daemon, line: bytes) -> bool:
        """Answers one line. Returns whether the next can be told from this one."""
        understood = False
        try:
            request = decode(line, MAXIMUM_REQUEST)
            understood = True
            if request.get("op") == "open" and (why := refuse_to_open(peer_user(self.connection))):
                raise ValueError(why)
            answer = encode({"ok": True, "result": daemon.answer(request)}, MAXIMUM_ANSWER)
        except (ValueError, OSError) as error:
            answer = encode(error_message(error), MAXIMUM_ANSWER)
        except Exception:
            logger.exception("a defect")
            failed = DaemonError("a defect of the daemon; its log has the traceback")
            answer = encode(error_message(failed), MAXIMUM_ANSWER)
        self.wfile.write(answer)
        return understood


@contextmanager
def _listening(path: Path, group: str | None, daemon: Daemon) -> Iterator[_Server]:
    """A server whose socket nobody else can open for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Who holds the ledger's lock may remove what the last daemon left.
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        server = _Server(path, daemon)
    finally:
        os.umask(before)
    try:
        if group is not None:
            try:
                shutil.chown(path, group=group)
            except LookupError:
                raise ValueError(f"there is no group {group!r} on this machine") from None
            path.chmod(0o660)
        with server:
            yield server
    finally:
        path.unlink(missing_ok=True)


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {str(value)[:40]!r}; a text is expected")
    # It goes into the log, where a line is one entry.
    return "".join(one if one.isprintable() else " " for one in value[:300])


def _whole(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} is {str(value)[:40]!r}; a whole number is expected")
    return value


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
