"""Whether a head still has workers of another cluster: it serves one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tune_app.cloud.ledger.file import LEDGER, still_rented
from tune_app.cloud.overlay.access import Account


def rented_by_others(state: Path, cluster: str) -> Mapping[str, list[int]]:
    """Clusters and their contracts that are not known to be gone, this cluster's left out.

    Args:
        state: the daemon's folder.

    Raises LedgerError for a ledger that cannot be read.
    """
    found = {
        path.parent.name: still_rented(path)
        for path in sorted(state.glob(f"*/{LEDGER}"))
        if path.parent.name != cluster
    }
    return {name: contracts for name, contracts in found.items() if contracts}


def refuse_other_clusters(state: Path, cluster: str, *, owner: str) -> None:
    """Raises ValueError if another cluster's workers would be left without their daemon.

    Args:
        owner: whose the daemon's folder is; nothing in it is touched as root.
    """
    if not state.is_dir():
        return
    with Account.of(owner).acting():
        others = rented_by_others(state, cluster)
    for name, contracts in others.items():
        raise ValueError(
            f"this head serves the cluster {name!r}, which has {len(contracts)} rented workers "
            f"(instances {', '.join(map(str, contracts))}); end it first with ray down and its "
            f"YAML, or use another head for {cluster!r}"
        )
