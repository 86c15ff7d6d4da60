"""A head that `ray up` has made at Hetzner and `ray down` deletes, once its results are here.

For the user's machine alone. What Hetzner has under the cluster's name is the truth; this machine
keeps by which host key the server is recognised.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tune_app.cloud.cluster_yaml.records import HeadMachine, HeadToCreate
from tune_app.cloud.errors import CloudError
from tune_app.cloud.head.remote import shell_of
from tune_app.cloud.head.shell import HeadShell, HeadUnreachableError
from tune_app.cloud.head_machine.fetch_results import FetchError, fetch, results_folder, sources
from tune_app.cloud.head_paths import ACCOUNT_KEY
from tune_app.cloud.hetzner.settings import Server, hetzner_token
from tune_app.cloud.market.access import MarketAccess
from tune_app.cloud.open_market import key_of, site_of
from tune_app.cloud.whole_files import write_file

if TYPE_CHECKING:
    from tune_app.cloud.hetzner.server import HetznerHead

DISCARD = "STELLUX_DISCARD"
"""With 1, `ray down` deletes a head without fetching its results."""
ENDPOINT = "HCLOUD_ENDPOINT"
"""Of the API, as for Hetzner's own command line."""
ROOT = "root"

_BOOTED = (
    "if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null; fi; true\n"
)
"""A server is set up by cloud-init as it starts: its SSH server may answer before that is done."""
_NEVER_RENTED = f"if [ -e {ACCOUNT_KEY} ]; then echo rents; else echo never; fi\n"

Say = Callable[[str], object]


class CreatedHead:
    """Thread-safe. Methods raise CloudError, HeadUnreachableError, HeadCommandError and
    HostKeyUnknownError, and ValueError without a token.
    """

    def __init__(
        self,
        wanted: HeadToCreate,
        cluster: str,
        *,
        store_root: str,
        market: MarketAccess,
        environment: Mapping[str, str] = os.environ,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            store_root: where the head keeps checkpoints.
            market: where its workers are rented.
            environment: holds the token, and whether results are to be fetched.
        """
        self._wanted = wanted
        self._cluster = cluster
        self._store_root = store_root
        self._market = market
        self._environment = environment
        self._sleep = sleep
        self._known_hosts = wanted.hetzner.folder.expanduser() / f"{cluster}.known_hosts"
        self._lock = threading.RLock()
        self._found: HeadMachine | None = None
        self._made = False
        self._rents = False

    def find(self) -> HeadMachine | None:
        """The server that exists; None if it certainly does not exist.

        Looked for until it was found, and then remembered.
        """
        with self._lock:
            if self._found is None:
                server = self._hetzner().find(self._cluster)
                if server is not None:
                    self._found = self._machine(server)
            return self._found

    def check_absence(self) -> None:
        """Raises CloudError if this machine knows a server that was not deleted from here."""
        if self._known_hosts.exists():
            raise CloudError(
                f"the head of {self._cluster!r} is not in the project of this HCLOUD_TOKEN, though "
                "it was not deleted from here: it may be in another project, and bill there: use "
                "that project's token; if it was deleted elsewhere, look on "
                f"{site_of(self._market).instances} for workers that it left, and then delete "
                f"{self._known_hosts}"
            )

    def make(self, say: Say) -> HeadMachine:
        """The server, running, with a host key that nobody else has seen.

        Safe to repeat after an interruption. Raises OverCapError, and ValueError without a key
        of the market's, before anything is ordered.
        """
        with self._lock:
            if self._made and self._found is not None:
                return self._found
            hetzner, settings = self._hetzner(), self._wanted.hetzner
            if hetzner.find(self._cluster) is None:
                # What is missing later would be found out with a server that bills.
                key_of(self._market, self._environment, Path.home())
                say(
                    f"ordering a server {settings.server_type} in {settings.location} at Hetzner: "
                    f"{hetzner.price():.2f} euros a month until `ray down` has deleted it"
                )
            server = hetzner.create(self._cluster)
            machine = self._machine(server)
            say(f"server {server.name} has the address {server.address}; waiting until it is up")
            self._as_root(machine, _BOOTED, say)

            def run(script: str, known_hosts: str) -> str:
                self._recognise(known_hosts)
                return self._as_root(machine, script, say)

            self._found = self._machine(hetzner.rotate_host_key(self._cluster, server, run))
            self._made = True
            return self._found

    def never_rented(self) -> bool:
        """Whether the head never had the key of a market's account, so that it left no worker.

        Raises HeadUnreachableError with what to do about a head that stays silent.
        """
        with self._lock:
            machine = self.find()
            if machine is not None and not self._rents:
                self._rents = self._ask(machine, _NEVER_RENTED) != "never"
            return not self._rents

    def end(self, say: Say) -> None:
        """Fetches results and then deletes the server. Where the first fails, nothing is deleted.

        Raises FetchError with what can be done.
        """
        machine = self.find()
        if machine is not None and self._environment.get(DISCARD) != "1":
            try:
                self._fetch(machine, say)
            except OSError as error:
                raise FetchError(
                    f"{error}. Nothing was deleted, and the head {machine.address} bills on: run "
                    "`ray down` again, which continues where it stopped; or fetch by hand: python "
                    "-m tune_app.cloud fetch --cluster cluster.yaml; or discard its results: "
                    f"{DISCARD}=1 ray down cluster.yaml"
                ) from error
        say("deleting the server at Hetzner")
        self._hetzner().delete(self._cluster)
        self._known_hosts.unlink(missing_ok=True)
        with self._lock:
            self._found, self._made = None, False

    def leave(self, error: OSError, say: Say) -> None:
        """It bills on, and may still hold results: nothing is deleted."""
        say("no worker of this cluster is rented any more")
        raise error

    def _ask(self, machine: HeadMachine, script: str) -> str:
        try:
            return shell_of(machine).run(["sh", "-s"], stdin=script.encode("ascii")).strip()
        except HeadUnreachableError as error:
            raise HeadUnreachableError(
                f"{error}. Nothing was deleted, and it bills on; if it never answers again, delete "
                "it on https://console.hetzner.cloud/, and what it rented on "
                f"{site_of(self._market).instances}"
            ) from error

    def _fetch(self, machine: HeadMachine, say: Say) -> None:
        fetched = fetch(
            shell_of(machine), sources(self._store_root), results_folder(self._cluster), say=say
        )
        say(fetched.told())

    def _machine(self, server: Server) -> HeadMachine:
        if not server.address:
            raise CloudError(
                f"server {server.name} ({server.id}) is {server.status!r} and has no address yet; "
                "try again in a minute"
            )
        self._recognise(server.known_hosts_line)
        return HeadMachine(
            address=server.address,
            user=ROOT,
            key=self._key(),
            known_hosts=str(self._known_hosts),
            node_type=self._wanted.node_type,
            launch_hash=self._wanted.launch_hash,
            dollars_per_hour=self._dollars_per_hour(server),
        )

    def _dollars_per_hour(self, server: Server) -> float | None:
        """What it costs; None if the rate or the price is not known."""
        rate, price = self._wanted.hetzner.dollars_per_euro, server.price
        if rate is None or price is None or price.per_hour is None:
            return None
        return rate * price.per_hour

    def _recognise(self, lines: str) -> None:
        self._known_hosts.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(self._known_hosts, lines, mode=0o600)

    def _key(self) -> str:
        """The private key's file; empty if only an agent may have it."""
        if self._wanted.key:
            return self._wanted.key
        public = self._wanted.hetzner.ssh_public_key.strip()
        if " " in public or not public.endswith(".pub"):
            return ""
        path = Path(public.removesuffix(".pub")).expanduser()
        return str(path) if path.is_file() else ""

    def _as_root(self, machine: HeadMachine, script: str, say: Say) -> str:
        """Runs a script on a server that may still be starting, and may be begun again."""
        shell: HeadShell = shell_of(machine)
        until = time.monotonic() + self._wanted.hetzner.start_s
        told = ""
        while True:
            try:
                return shell.run(["sh", "-s"], stdin=script.encode("utf-8"))
            except HeadUnreachableError as error:
                if "host key" in str(error) or time.monotonic() > until:
                    raise
                if str(error) != told:
                    told = str(error)
                    say(f"not yet: {told}")
            self._sleep(self._wanted.hetzner.poll_s)

    def _hetzner(self) -> HetznerHead:
        # Its client, hcloud, takes a fifth of a second, and most commands ask no Hetzner.
        from tune_app.cloud.hetzner.server import HetznerHead  # noqa: PLC0415

        return HetznerHead(
            self._wanted.hetzner,
            hetzner_token(self._environment),
            endpoint=self._environment.get(ENDPOINT) or None,
        )
