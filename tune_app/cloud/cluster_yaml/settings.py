"""What a cluster's YAML says to the node provider, and to the daemon through it."""

from __future__ import annotations

import json
import tempfile
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_app.cloud.hetzner.settings import HetznerSettings
from tune_app.cloud.json_settings import TYPE_NAMES
from tune_app.cloud.market.labels import checked_name
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.renting.settings import CloudSettings, load_settings

UNSET_ADDRESS = "YOUR-VPS"
"""The placeholder in `cluster.yaml` until a user writes an address."""
HETZNER = "hetzner"
"""Where a head can be made."""
ANSWER_S = 58.0
"""Within this time a request to rent is answered; the daemon answers in 55 s."""

STORE_ROOT = OverlaySettings(head="example").store_root

_RAYS_OWN = {
    "type",
    "module",
    "disable_node_updaters",
    "disable_launch_config_check",
    "use_internal_ips",
    "use_external_head_ip",
    "_config_cache_path",
}
_PLAIN = ("on_head", "answer_s", "looks_apart_s")


def head_id(cluster: str) -> str:
    """The head's RAY_CLOUD_INSTANCE_ID, by which it is recognised."""
    return f"{cluster}-head"


@dataclass(frozen=True, kw_only=True)
class HeadMachine:
    """The machine that `ray up` turns into the head. Raises ValueError if it is not named."""

    address: str
    port: int = 22
    key: str = ""
    """File of the SSH key on the user's machine; it is never copied."""
    open_ports: str = ""
    """Other ports that it serves, as `80/tcp 51820/udp`; the firewall closes all others."""
    known_hosts: str = ""
    """File with its host key on the user's machine; empty for the user's own."""
    user: str = ""
    """Who logs in there; written by `StelluxNodeProvider.bootstrap_config`, from auth.ssh_user."""
    node_type: str = "head"
    launch_hash: str = ""
    """Ray's hash of the head's configuration: see `StelluxNodeProvider.bootstrap_config`."""

    def __post_init__(self) -> None:
        if not self.address.strip() or self.address == UNSET_ADDRESS:
            raise ValueError(
                f"provider.head.address is {self.address!r}; write the name or address of the "
                "machine that is to be the head"
            )
        if not 0 < self.port < 65_536:
            raise ValueError(f"provider.head.port is {self.port}; it must be 1 to 65535")


@dataclass(frozen=True, kw_only=True)
class HeadToCreate:
    """A head that `ray up` makes at Hetzner, and `ray down` deletes."""

    hetzner: HetznerSettings
    key: str = ""
    """File of the SSH key on the user's machine; empty for what belongs to the public one."""
    user: str = ""
    node_type: str = "head"
    launch_hash: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkerAccess:
    """How the head's programs log in on workers: see `tune_app.cloud.overlay.setup`."""

    key: str
    """A copy of the updater's key that Ray's user may read."""
    known_hosts: str
    """The file of workers' host keys; no other host is contacted."""
    user: str = "root"


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """The provider's section of a cluster's YAML. Raises ValueError for invalid values."""

    cluster: str
    head: HeadMachine | HeadToCreate
    workers: WorkerAccess | None = None
    """Used on the head; without it, no command is run on a worker."""
    on_head: bool = False
    """Set in the copy of the YAML that `ray up` puts on the head."""
    socket: Path | None = None
    """Of the daemon; None for the usual place."""
    answer_s: float = ANSWER_S
    looks_apart_s: float = 60.0
    """Between the two checks that must find nothing before `ray down` ends."""
    store_root: str = STORE_ROOT
    """Of the overlay: below it, the head keeps checkpoints."""

    def __post_init__(self) -> None:
        checked_name("cluster's name", self.cluster)
        if not 0 < self.answer_s <= 60:
            raise ValueError(
                f"provider.answer_s is {self.answer_s!r}; it must be over 0 and at most 60 s"
            )
        if self.looks_apart_s < 0:
            raise ValueError(
                f"provider.looks_apart_s is {self.looks_apart_s!r}; it must be 0 s or more"
            )


def read_settings(section: Mapping[str, Any], cluster: str) -> ProviderSettings:
    """Settings from a YAML's `provider`. Raises ValueError naming what is wrong there."""
    known = {"head", "socket", "vast", "workers", "overlay", "ray", *_PLAIN}
    unknown = sorted(set(section) - known - _RAYS_OWN)
    if unknown:
        raise ValueError(
            f"unknown setting {', '.join(map(repr, unknown))} in provider; expected one of "
            f"{', '.join(sorted(known))}"
        )
    head = _head(section.get("head"))
    own = {name: section[name] for name in _PLAIN if name in section}
    _check_types(own, ProviderSettings, "provider")
    socket, workers = section.get("socket"), section.get("workers")
    if workers is not None:
        _check_access(workers)
    return ProviderSettings(
        cluster=cluster,
        head=head,
        workers=None if workers is None else WorkerAccess(**workers),
        socket=None if socket is None else Path(socket).expanduser(),
        store_root=str((section.get("overlay") or {}).get("store_root", STORE_ROOT)),
        **own,
    )


def _head(section: object) -> HeadMachine | HeadToCreate:
    if not isinstance(section, Mapping) or not {"address", "create"} & set(section):
        raise ValueError(
            "provider.head.address is missing; write the address of the head there, or "
            "create: hetzner to have one made"
        )
    if "create" not in section:
        _check_types(section, HeadMachine, "provider.head")
        return HeadMachine(**section)
    if section["create"] != HETZNER:
        raise ValueError(f"provider.head.create is {section['create']!r}; it can be {HETZNER}")
    if "address" in section:
        raise ValueError(
            "provider.head has an address and create; the first names a machine you have, the "
            "second has one made: remove one of them"
        )
    values = section.get(HETZNER)
    missing = {"ssh_public_key", "max_euros_per_month"} - set(values or {})
    if not isinstance(values, Mapping) or missing:
        raise ValueError(
            f"provider.head.{HETZNER} lacks {', '.join(sorted(missing))}; see cluster.yaml"
        )
    _check_types(values, HetznerSettings, f"provider.head.{HETZNER}")
    told: dict[str, Any] = {
        name: Path(value) if name == "folder" else value for name, value in values.items()
    }
    own = {name: value for name, value in section.items() if name not in {"create", HETZNER}}
    hetzner = HetznerSettings(**told)
    _check_types(own | {HETZNER: hetzner}, HeadToCreate, "provider.head")
    return HeadToCreate(hetzner=hetzner, **own)


def _check_access(workers: object) -> None:
    if not isinstance(workers, Mapping) or not {"key", "known_hosts"} <= set(workers):
        raise ValueError("provider.workers needs key and known_hosts, two files on the head")
    _check_types(workers, WorkerAccess, "provider.workers")


def _check_types(values: Mapping[str, Any], kind: type, where: str) -> None:
    """Raises ValueError for names that a record does not have, and values of another type."""
    hints = typing.get_type_hints(kind)
    odd = sorted(set(values) - set(hints))
    if odd:
        raise ValueError(
            f"unknown setting {', '.join(map(repr, odd))} in {where}; expected one of "
            f"{', '.join(sorted(hints))}"
        )
    for name, value in values.items():
        plain: dict[Any, Any] = {float: (int, float), Path: str}
        allowed = plain.get(hints[name], hints[name])
        if not isinstance(value, allowed) or (isinstance(value, bool) and hints[name] is not bool):
            wanted = TYPE_NAMES.get(hints[name], "another type")
            raise ValueError(f"{where}.{name} is {value!r}; {wanted} is expected")


def write_daemon_settings(config: Mapping[str, Any], path: Path) -> CloudSettings:
    """Writes the file that the daemon is started with, out of a cluster's YAML.

    Raises ValueError if the daemon would refuse it, or where the two say different things of
    the workers.
    """
    section = config["provider"].get("vast")
    if not isinstance(section, Mapping):
        raise ValueError("provider.vast is missing; it says what may be rented, and for how much")
    told = {
        "cluster": config["cluster_name"],
        "last_k": overlay_values(config)["last_k"],
        **section,
    }
    path.write_text(json.dumps(told, indent=2), "utf-8")
    settings = load_settings(path)
    if settings.last_k != overlay_values(config)["last_k"]:
        raise ValueError(
            f"provider.vast.last_k is {settings.last_k}, provider.overlay.last_k "
            f"{overlay_values(config)['last_k']}; remove the first"
        )
    workers = set(config["available_node_types"]) - {config["head_node_type"]}
    if workers != set(settings.node_types):
        raise ValueError(
            f"available_node_types has the workers {', '.join(sorted(workers)) or 'none'}, "
            f"provider.vast.node_types {', '.join(sorted(settings.node_types))}; name the same"
        )
    most = config.get("max_workers", 0)
    if most > settings.max_instances:
        raise ValueError(
            f"max_workers is {most}, provider.vast.max_instances {settings.max_instances}; "
            "raise the second or lower the first"
        )
    return settings


def overlay_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The overlay's section of a cluster's YAML, with what follows from the rest."""
    provider = config["provider"]
    last_k = OverlaySettings(head="example").last_k
    # A head that is still to be made has no address yet.
    address = provider["head"].get("address", "")
    return {"head": address, "last_k": last_k, **provider.get("overlay", {})}


def check_config(config: Mapping[str, Any]) -> None:
    """Raises ValueError for a YAML that cannot become a cluster."""
    settings = read_settings(config["provider"], config["cluster_name"])
    user = config.get("auth", {}).get("ssh_user")
    if isinstance(settings.head, HeadToCreate) and user != "root":
        raise ValueError(
            f"auth.ssh_user is {user!r}; a head at Hetzner has no other user than root: write root"
        )
    if "ssh_private_key" in config.get("auth", {}):
        raise ValueError(
            "auth.ssh_private_key would be copied to the head by Ray; write the key's file under "
            "provider.head.key, or into ~/.ssh/config"
        )
    with tempfile.TemporaryDirectory() as folder:
        write_daemon_settings(config, Path(folder) / "provider.vast")
