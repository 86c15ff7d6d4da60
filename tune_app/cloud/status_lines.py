"""What `status` says of a cluster's machines and their cost."""

from __future__ import annotations

import time

from rich.table import Table

from tune_app.cloud.daemon.protocol import Status


def status_lines(found: Status) -> list[str]:
    """All but the workers, a line each."""
    lines = [
        f"Cluster {found.cluster}: ${found.spent:.2f} of ${found.cap:.2f} spent on rented machines "
        f"(by the {found.spent_by}), "
        f"{found.gpu_hours:.1f} GPU hours, ${found.per_hour:.3f}/h now"
    ]
    lines.append(f"  head         {_head(found.head_per_hour)}")
    lines += [f"  ALERT        {text}" for text in found.alerts]
    seen = "never" if found.looked_at is None else f"{time.time() - found.looked_at:.0f} s ago"
    lines.append(f"  last look    {seen}{'; ' + found.trouble if found.trouble else ''}")
    if found.closed:
        lines.append(f"  closed       {found.closed}")
    if found.stage != "open":
        lines.append(f"  budget       {found.stage}")
    lines += [f"  pending      {request}" for request in found.in_flight]
    lines += [f"  destroying   {item}: {reason}" for item, reason in found.being_destroyed.items()]
    lines += [f"  failing      {name}: {reason}" for name, reason in found.failures.items()]
    lines += [f"  avoided      machine {item}: {reason}" for item, reason in found.avoided.items()]
    lines += [f"  ended        {count} × {reason}" for reason, count in found.ended.items()]
    return lines


def worker_table(found: Status) -> Table:
    """The workers that are rented."""
    table = Table("k", "instance", "type", "GPU", "CPUs", "$/h", "since", "status")
    for node in found.nodes:
        table.add_row(
            str(node.k),
            str(node.contract),
            node.node_type,
            node.gpu,
            f"{node.cpus:g}",
            f"{node.dollars_per_hour:.3f}",
            time.strftime("%m-%d %H:%M", time.localtime(node.since)),
            node.status or "starting",
        )
    return table


def _head(per_hour: float | None) -> str:
    price = (
        "at a price that provider.head does not name" if per_hour is None else f"${per_hour:.4f}/h"
    )
    return f"{price}, with or without a sweep; neither spent above nor in the cap"
