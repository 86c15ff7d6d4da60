"""`reap` and `status` from the user's machine, with or without a head that answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from tune_app.cloud.daemon.client import DaemonClient
from tune_app.cloud.daemon.protocol import Status
from tune_app.cloud.head_machine.choose import read_cluster
from tune_app.cloud.head_machine.without_head import (
    end_all,
    end_orphans,
    instances_of,
    market_from_here,
)
from tune_app.cloud.market.access import MarketAccess
from tune_app.cloud.market.labels import Label, checked_name
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.market.records import Instance
from tune_app.cloud.overlay.settings import LIFE_HOURS
from tune_app.cloud.renting.orphans import Owner

Say = Callable[[str], object]

LEFT = 1
"""Exit code if a machine is still rented after a reap."""


def is_name(cluster: Path) -> bool:
    """Whether a cluster's name was given rather than its YAML."""
    return not cluster.exists() and cluster.suffix == "" and cluster.name == str(cluster)


@dataclass(frozen=True, kw_only=True)
class _Rented:
    """What is known of a cluster's machines without its head."""

    name: str
    market: Market
    life_s: float
    """After which they end themselves."""


@contextmanager
def _rented(cluster: Path) -> Iterator[_Rented]:
    """Of a cluster's YAML, or its name. Raises ValueError without a key on this machine."""
    name, access, life_hours = str(cluster), MarketAccess(), LIFE_HOURS
    if is_name(cluster):
        checked_name("cluster's name", name)
    else:
        settings, _ = read_cluster(cluster)
        name, access, life_hours = settings.cluster, settings.market, settings.overlay.life_hours
    with market_from_here(access, os.environ, Path.home()) as market:
        yield _Rented(name=name, market=market, life_s=life_hours * 3_600)


def reap_by_label(cluster: Path, say: Say, *, apart_s: float, within_s: float) -> int:
    """Ends all of a cluster's instances, without asking its head. Returns the exit code."""
    with _rented(cluster) as there:
        name = there.name
        left = end_all(there.market, name, say, apart_s=apart_s, within_s=within_s)
    if left:
        say(
            f"instances {', '.join(map(str, left))} still exist; run this again, or end them at "
            f"{there.market.site.instances}"
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

    with _rented(cluster) as there:
        name = there.name
        nobody: Callable[[], Owner | None] = lambda: None  # noqa: E731
        kept = end_orphans(
            there.market,
            name,
            say,
            owner=nobody if is_name(cluster) else owner,
            life_s=there.life_s,
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
    with _rented(cluster) as there:
        name, found = there.name, instances_of(there.market, there.name)
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
