"""Reads a cluster's YAML, and refuses one that cannot become a cluster. Pure but for key files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tune_app.cloud.cluster_yaml.records import (
    HETZNER,
    HeadMachine,
    HeadToCreate,
    ProviderSection,
    ProviderSettings,
)
from tune_app.cloud.market.labels import checked_name
from tune_app.cloud.node.settings import HeadSettings
from tune_app.cloud.open_market import market_kind
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.renting.settings import CloudSettings
from tune_app.cloud.settings_reader import read

_RAYS_OWN = {
    "type",
    "module",
    "disable_node_updaters",
    "disable_launch_config_check",
    "use_internal_ips",
    "use_external_head_ip",
    "_config_cache_path",
}
_NO_ADDRESS_YET = "to-be-made.invalid"
"""Of a head that is still to be made."""


def head_id(cluster: str) -> str:
    """The head's RAY_CLOUD_INSTANCE_ID, by which it is recognised."""
    return f"{cluster}-head"


def read_settings(provider: Mapping[str, Any], cluster: str) -> ProviderSettings:
    """Settings from a YAML's `provider`. Raises ValueError naming what is wrong there."""
    checked_name("cluster's name", cluster)
    market = provider.get("market", ProviderSection.market)
    try:
        # First: else its section would count as an unknown setting.
        market_kind(str(market))
    except ValueError as error:
        raise ValueError(f"provider.{error}") from None
    section = read(ProviderSection, provider, "provider", beside={*_RAYS_OWN, str(market)})
    head = _head(section.head)
    address = head.address if isinstance(head, HeadMachine) else _NO_ADDRESS_YET
    overlay = read(
        OverlaySettings, {"head": address, **(section.overlay or {})}, "provider.overlay"
    )
    ray = read(HeadSettings, {"cluster": cluster, **(section.ray or {})}, "provider.ray")
    rented = provider.get(section.market)
    return ProviderSettings(
        cluster=cluster,
        section=section,
        head=head,
        overlay=overlay,
        ray=ray,
        rented=None if rented is None else _rented(rented, cluster, section.market, overlay, head),
    )


def _head(section: Mapping[str, Any]) -> HeadMachine | HeadToCreate:
    if not {"address", "create"} & set(section):
        raise ValueError(
            "provider.head.address is missing; write the address of the head there, or "
            f"create: {HETZNER} to have one made"
        )
    if "create" not in section:
        return read(HeadMachine, section, "provider.head")
    if "address" in section:
        raise ValueError(
            "provider.head has an address and create; the first names a machine you have, the "
            "second has one made: remove one of them"
        )
    if "dollars_per_hour" in section:
        raise ValueError(
            f"provider.head.dollars_per_hour is {section['dollars_per_hour']!r}, and Hetzner tells "
            "the price of a head that is made there: remove it, and write dollars_per_euro under "
            "provider.head.hetzner"
        )
    return read(HeadToCreate, section, "provider.head")


def _rented(
    section: Any,
    cluster: str,
    market: str,
    overlay: OverlaySettings,
    head: HeadMachine | HeadToCreate,
) -> CloudSettings:
    """What may be rented, with what is said elsewhere in the YAML."""
    where = f"provider.{market}"
    elsewhere = {
        "cluster": cluster,
        "market": market,
        "last_k": overlay.last_k,
        "head_dollars_per_hour": head.dollars_per_hour if isinstance(head, HeadMachine) else None,
    }
    places = {
        "cluster": "cluster_name",
        "market": "provider.market",
        "last_k": "provider.overlay.last_k",
        "head_dollars_per_hour": "provider.head.dollars_per_hour",
    }
    if isinstance(section, Mapping):
        for name, value in elsewhere.items():
            if section.get(name, value) != value:
                raise ValueError(
                    f"{where}.{name} is {section[name]!r}, {places[name]} {value!r}; "
                    "remove the first"
                )
        section = {**elsewhere, **section}
    return read(CloudSettings, section, where)


def check_config(config: Mapping[str, Any]) -> ProviderSettings:
    """The settings of a YAML. Raises ValueError for one that cannot become a cluster."""
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
    where, rented = f"provider.{settings.section.market}", settings.rented
    if rented is None:
        raise ValueError(f"{where} is missing; it says what may be rented, and for how much")
    workers = set(config["available_node_types"]) - {config["head_node_type"]}
    if workers != set(rented.node_types):
        raise ValueError(
            f"available_node_types has the workers {', '.join(sorted(workers)) or 'none'}, "
            f"{where}.node_types {', '.join(sorted(rented.node_types))}; name the same"
        )
    most = config.get("max_workers", 0)
    if most > rented.max_instances:
        raise ValueError(
            f"max_workers is {most}, {where}.max_instances {rented.max_instances}; "
            "raise the second or lower the first"
        )
    return settings
