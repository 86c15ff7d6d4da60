"""The head as a server at Hetzner: found by its name, made once, deleted for certain.

For the user's machine alone: the token that pays never comes to the head. A server's name is unique
in its project, so after an order with an unknown outcome its name is looked for.
What is switched off bills as well; only what is deleted does not.

Source: https://docs.hetzner.cloud/ and hcloud, Hetzner's own client (2.27).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from hcloud.actions import BoundAction
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.server_types import BoundServerType, ServerType
from hcloud.servers import BoundServer
from hcloud.ssh_keys import BoundSSHKey

from tune_app.cloud.errors import (
    NoAnswerError,
    OddAnswerError,
    RateLimitedError,
    UnreachableError,
)
from tune_app.cloud.hetzner.api import HetznerApi
from tune_app.cloud.hetzner.errors import (
    BusyError,
    GoneError,
    NameTakenError,
    NotAvailableError,
    NotReadyError,
    OverCapError,
)
from tune_app.cloud.hetzner.host_key import HostKeys, fingerprint, user_data
from tune_app.cloud.hetzner.prices import Price, price_of
from tune_app.cloud.hetzner.settings import HetznerSettings, Server
from tune_app.cloud.secrets.key import ApiKey

logger = logging.getLogger(__name__)

CLUSTER_LABEL = "stellux-cluster"
HOST_KEY_LABEL = "stellux-host-key"
_CLUSTER = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class HetznerHead:
    """The heads of one project. Methods raise CloudError, ValueError and HostKeyUnknownError."""

    def __init__(
        self,
        settings: HetznerSettings,
        token: ApiKey,
        *,
        endpoint: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            endpoint: https, or http to this machine.
            clock: in seconds.
        """
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._api = HetznerApi(settings, token, endpoint=endpoint, sleep=sleep)
        self._client = self._api.client

    def __repr__(self) -> str:
        return f"HetznerHead({self._api!r})"

    def find(self, cluster: str) -> Server | None:
        """The cluster's head, whatever its state; None if it certainly does not exist.

        Raises NameTakenError for a server of that name that this program did not make.
        """
        server = self._look(cluster)
        return None if server is None else self._record(cluster, server)

    def create(self, cluster: str) -> Server:
        """The cluster's head, running: the one that exists, or else a new one, ordered once.

        Raises OverCapError before anything is ordered; NoAnswerError if it is not known whether
        a server was made, and NotReadyError if one was made and does not run: begin again, or
        `delete`.
        """
        server, action = self._look(cluster), None
        if server is None:
            self.price()
            server, action = self._order(cluster)
        return self._running(cluster, server, action)

    def delete(self, cluster: str) -> bool:
        """Ends the head and its billing, and returns when two looks have not found it.

        False if there was none in the token's project, which may be the wrong one. Raises
        NotReadyError if it is not gone in time.
        """
        until = self._clock() + self._settings.gone_s
        asked, absent = False, 0
        while True:
            server = self._look(cluster)
            absent = absent + 1 if server is None else 0
            if absent == 2:
                break
            if server is not None and not asked:
                self._end(server)
                asked = True
            if self._clock() > until:
                raise NotReadyError(
                    f"server {_name(cluster)} is not gone after {self._settings.gone_s:g} s and may"
                    " bill; try again, or delete it on https://console.hetzner.cloud/"
                )
            self._sleep(self._settings.poll_s)
        for key in self._keys(cluster):
            self._api.repeated("delete SSH key", key.delete, gone=True)
        if asked:
            self._host_keys(cluster).forget()
        elif self._host_keys(cluster).any():
            logger.warning(
                "there is no server %s in the project of this token, though one was ordered from "
                "this machine: if that was in another project, it bills on",
                _name(cluster),
            )
        return asked

    def price(self) -> float:
        """Euros a month with tax and IPv4 address, as of now.

        Raises OverCapError over the cap, NotAvailableError if none can be ordered.
        """
        settings = self._settings
        wanted = f"server type {settings.server_type!r}"
        kind = self._api.repeated(
            "server type", lambda: self._client.server_types.get_by_name(settings.server_type)
        )
        if kind is None:
            raise NotAvailableError(
                f"unknown {wanted}; https://www.hetzner.com/cloud lists what exists"
            )
        open_in = self._api.call("server type", lambda: _open_in(kind))
        if settings.location not in open_in:
            raise NotAvailableError(
                f"{wanted} is not available in {settings.location!r} now; it is in "
                f"{', '.join(sorted(open_in)) or 'no location'}: choose another of them, or of the "
                "server types"
            )
        found = self._price(kind, settings.location)
        if found is None:
            raise OddAnswerError(f"{wanted} has no price for {settings.location!r}")
        euros = found.per_month
        if euros > settings.max_euros_per_month:
            raise OverCapError(
                f"{wanted} in {settings.location} costs {euros:.2f} euros a month; the limit "
                f"max_euros_per_month is {settings.max_euros_per_month:.2f}: raise it, or choose a "
                "smaller server type"
            )
        return euros

    def rotate_host_key(
        self, cluster: str, server: Server, run: Callable[[str, str], str]
    ) -> Server:
        """The server with a host key that nobody else has seen: `HostKeys.rotate` says why.

        Args:
            run: runs a shell script (first) as root there, by known_hosts lines (second), and
                returns what it prints.
        """
        found = self._look(cluster)
        if found is None or found.id != server.id:
            raise GoneError(f"server {server.name} ({server.id}) is gone; make another")
        self._host_keys(cluster).rotate(server.id, server.address, _first_key(found), run)
        return self._record(cluster, found)

    def _look(self, cluster: str) -> BoundServer | None:
        name = _name(cluster)

        def ask() -> BoundServer | None:
            page = self._client.servers.get_list(name=name, per_page=50)
            pagination = page.meta.pagination
            if pagination is None or pagination.total_entries != len(page.servers):
                raise ValueError("a part of the list")
            if any(server.name != name for server in page.servers):
                raise ValueError("servers of other names")
            return _whole(page.servers[0]) if page.servers else None

        server = self._api.repeated("list", ask)
        if server is not None and (server.labels or {}).get(CLUSTER_LABEL) != cluster:
            raise NameTakenError(
                f"the project has a server {name} ({server.id}) without the label "
                f"{CLUSTER_LABEL}={cluster}: it is not ours and is left alone; rename it, or give "
                "the cluster another name"
            )
        return server

    def _order(self, cluster: str) -> tuple[BoundServer, BoundAction | None]:
        settings, name = self._settings, _name(cluster)
        public = " ".join(settings.public_key().export_public_key().decode().split()[:2])
        host = self._host_keys(cluster).first()
        # Without a key of the project's, root gets a password by e-mail that ends with the first
        # log-in, and no command runs before it is changed.
        key = self._key(cluster, public)

        def ask() -> tuple[BoundServer, BoundAction]:
            made = self._client.servers.create(
                name=name,
                server_type=ServerType(name=settings.server_type),
                image=Image(name=settings.image),
                location=Location(name=settings.location),
                ssh_keys=[key],
                user_data=user_data(public, host),
                labels={CLUSTER_LABEL: cluster, HOST_KEY_LABEL: fingerprint(host.public)},
            )
            return _whole(made.server), made.action

        try:
            return self._api.call("create", ask)
        except (NoAnswerError, OddAnswerError, NameTakenError) as error:
            logger.warning("%s; looking for %s", error, name)
            found = self._appeared(cluster)
            if found is None:
                raise NoAnswerError(
                    f"{error}; there is no server {name} after {settings.look_s:g} s, though it "
                    "may still appear, and bill: try again, which looks for it first"
                ) from None
            return found, None

    def _appeared(self, cluster: str) -> BoundServer | None:
        """The server of an order whose outcome is not known, if there comes one."""
        until = self._clock() + self._settings.look_s
        while True:
            try:
                server = self._look(cluster)
            except (NoAnswerError, UnreachableError, OddAnswerError, RateLimitedError) as error:
                logger.warning("%s; looking on", error)
                server = None
            if server is not None or self._clock() > until:
                return server
            self._sleep(self._settings.poll_s)

    def _running(self, cluster: str, server: BoundServer, action: BoundAction | None) -> Server:
        until = self._clock() + self._settings.start_s
        number = _number(server)
        while True:
            record = self._record(cluster, server, priced=False)
            if record.status == "running" and record.address:
                return self._record(cluster, server)
            if record.status == "deleting":
                raise NotReadyError(
                    f"server {record.name} is being deleted; try again when it is gone"
                )
            if action is not None:
                action = self._checked_action(record, action)
            elif record.status == "off" and not server.locked:
                try:
                    self._api.call("power on", server.power_on)
                except (BusyError, NoAnswerError) as error:
                    logger.info("%s", error)
            if self._clock() > until:
                raise NotReadyError(
                    f"server {record.name} ({number}) is {record.status!r} after "
                    f"{self._settings.start_s:g} s, and bills; try again, or delete it"
                )
            self._sleep(self._settings.poll_s)
            server = self._api.repeated(
                "show", lambda: _whole(self._client.servers.get_by_id(number))
            )

    def _checked_action(self, record: Server, action: BoundAction) -> BoundAction | None:
        """The action that makes a server, as long as it goes on."""
        number = action.id
        action = self._api.repeated("action", lambda: self._client.actions.get_by_id(number))
        if action.status == "error":
            code = (action.error or {}).get("code", "no reason")
            raise NotReadyError(
                f"server {record.name} ({record.id}) was ordered and not created ({code}); delete "
                "it and try again, perhaps in another location"
            )
        return None if action.status == "success" else action

    def _end(self, server: BoundServer) -> None:
        logger.info("deleting server %s (%d)", server.name, server.id)
        self._api.repeated("delete", server.delete, gone=True)

    def _record(self, cluster: str, server: BoundServer, *, priced: bool = True) -> Server:
        def read() -> tuple[str, str]:
            ipv4 = None if server.public_net is None else server.public_net.ipv4
            return (ipv4.ip or "") if ipv4 else "", str(server.status)

        address, status = self._api.call("server", read)
        line = self._host_keys(cluster).known_hosts(_number(server), address, _first_key(server))
        kind, location = server.server_type, server.location
        price = None
        if priced and kind is not None and location is not None:
            price = self._price(kind, str(location.name))
        return Server(
            id=_number(server),
            name=str(server.name),
            address=address,
            status=status,
            price=price,
            known_hosts_line=line if address else "",
        )

    def _price(self, kind: BoundServerType, location: str) -> Price | None:
        def ask() -> Price | None:
            pricing = self._client.request("GET", "/pricing")["pricing"]
            return price_of(kind.prices or [], pricing, location)

        return self._api.repeated("pricing", ask)

    def _key(self, cluster: str, public: str) -> BoundSSHKey:
        """The project's entry of the user's key, created if missing. Costs nothing."""
        digest = self._settings.public_key().get_fingerprint("md5").removeprefix("MD5:")

        def ask() -> BoundSSHKey | None:
            return self._client.ssh_keys.get_by_fingerprint(digest)

        found = self._api.repeated("SSH key", ask)
        if found is not None:
            return found
        try:
            return self._api.call(
                "create SSH key",
                lambda: self._client.ssh_keys.create(
                    name=f"{_name(cluster)}-{digest.replace(':', '')[:8]}",
                    public_key=public,
                    labels={CLUSTER_LABEL: cluster},
                ),
            )
        except (NoAnswerError, OddAnswerError, NameTakenError):
            found = self._api.repeated("SSH key", ask)
            if found is None:
                raise
            return found

    def _keys(self, cluster: str) -> list[BoundSSHKey]:
        selector = f"{CLUSTER_LABEL}={cluster}"
        keys = self._api.repeated(
            "SSH keys", lambda: self._client.ssh_keys.get_all(label_selector=selector)
        )
        return [key for key in keys if (key.labels or {}).get(CLUSTER_LABEL) == cluster]

    def _host_keys(self, cluster: str) -> HostKeys:
        return HostKeys(self._settings.folder.expanduser() / _name(cluster))


def _name(cluster: str) -> str:
    if not _CLUSTER.fullmatch(cluster):
        raise ValueError(
            f"the cluster's name is {cluster[:80]!r}; a head at Hetzner takes it into its host "
            "name: use 1 to 40 small letters, digits and dashes, no dash at either end"
        )
    return f"stellux-{cluster}-head"


def _whole(server: BoundServer) -> BoundServer:
    """Raises ValueError for one without its number."""
    if not isinstance(server.id, int):
        raise ValueError("no id")
    return server


def _number(server: BoundServer) -> int:
    assert server.id is not None
    return server.id


def _first_key(server: BoundServer) -> str:
    return str((server.labels or {}).get(HOST_KEY_LABEL, ""))


def _open_in(kind: BoundServerType) -> set[str]:
    """Locations in which a server type can be ordered."""
    return {str(item.location.name) for item in kind.locations or [] if item.available}
