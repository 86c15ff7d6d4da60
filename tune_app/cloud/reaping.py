"""`reap` and `status` from the user's machine, with or without a head that answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.table import Table

from tune_app.cloud.daemon.client import DaemonClient
from tune_app.cloud.daemon.protocol import Status
from tune_app.cloud.head_machine.choose import read_provider
from tune_app.cloud.head_machine.without_head import (
    end_all,
    end_orphans,
    instances_of,
    life_s,
    market_from_here,
)
from tune_app.cloud.market.labels import Label
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.market.records import Instance
from tune_app.cloud.renting.orphans import Owner

Say = Callable[[str], object]

LEFT = 1
"""Exit code if a machine is still rented after a reap."""


def is_name(cluster: Path) -> bool:
    """Whether a cluster's name was given rather than its YAML."""
    return not cluster.exists() and cluster.suffix == "" and cluster.name == str(cluster)


@contextmanager
def _market(cluster: Path) -> Iterator[tuple[str, Mapping[str, Any], Market]]:
    """Name, provider's section and market. Raises ValueError without a key on this machine."""
    name, provider = (str(cluster), {}) if is_name(cluster) else read_provider(cluster)
    with market_from_here(name, provider, os.environ, Path.home()) as market:
        yield name, provider, market


def reap_by_label(cluster: Path, say: Say, *, apart_s: float, within_s: float) -> int:
    """Ends all of a cluster's instances, without asking its head. Returns the exit code."""
    with _market(cluster) as (name, _, market):
        left = end_all(market, name, say, apart_s=apart_s, within_s=within_s)
    if left:
        say(
            f"instances {', '.join(map(str, left))} still exist; run this again, or end them at "
            "https://cloud.vast.ai/instances/"
        )
        return LEFT
    say(
        f"no machine of the cluster {name!r} is rented any more. Its head was not asked: if it "
        "still runs somewhere, it may rent again"
    )
    return 0


def reap_orphans(cluster: Path, daemon: Callable[[], DaemonClient], say: Say) -> int:
    """Ends those of a cluster's instances that nothing owns. Safe beside a living cluster."""

    def owner() -> Owner | None:
        try:
            return owner_by(daemon().status())
        except OSError as error:
            say(f"{error}. What may have an owner is kept")
            return None

    with _market(cluster) as (name, provider, market):
        nobody: Callable[[], Owner | None] = lambda: None  # noqa: E731
        kept = end_orphans(
            market,
            name,
            say,
            owner=nobody if is_name(cluster) else owner,
            life_s=life_s(provider),
        )
    if kept:
        say(f"kept, as they have an owner or may have one: {', '.join(map(str, kept))}")
    else:
        say(f"no machine of the cluster {name!r} is left")
    return 0


def owner_by(status: Status) -> Owner:
    """What a head has, by what its daemon says. Pure."""
    return Owner(
        head=status.head,
        contracts=frozenset(
            [*(node.contract for node in status.nodes), *map(int, status.being_destroyed)]
        ),
        requests=frozenset(status.in_flight),
    )


def status_by_label(cluster: Path, say: Say) -> Table:
    """What the market lists of a cluster, without asking its head."""
    with _market(cluster) as (name, _, market):
        found = instances_of(market, name)
    say(
        f"Cluster {name}: {len(found)} machines are rented by its label, "
        f"${sum(map(_per_hour, found)):.3f}/h now; end them with: reap"
    )
    table = Table("instance", "label", "GPU", "$/h", "status")
    for one in sorted(found, key=lambda item: item.id):
        label = Label.parse(one.label)
        assert label is not None
        table.add_row(
            str(one.id),
            one.label,
            one.gpu_name,
            f"{_per_hour(one):.3f}",
            "stopped" if one.is_stopped else one.status or "starting",
        )
    return table


def _per_hour(instance: Instance) -> float:
    """What it costs in its present state."""
    return instance.storage_per_hour if instance.is_stopped else instance.dollars_per_hour or 0.0
