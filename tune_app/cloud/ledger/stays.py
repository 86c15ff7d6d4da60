"""What became of the machines that were rented: how long they took to work, and what ended them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from tune_app.cloud.ledger.endings import EndKind


@dataclass(frozen=True, kw_only=True)
class Stay:
    """One rented machine."""

    machine: int
    gpu: str
    hours: float
    """In which its container ran."""
    setup_hours: float | None
    """From the request until the first cell trained there; None if none did."""
    taken_away: bool
    """Whether it was outbid or lost: an interruption."""


def note_work(connection: sqlite3.Connection, contracts: Iterable[int], now: float) -> None:
    """Records that cells train on machines; the first time counts."""
    connection.executemany(
        "INSERT OR IGNORE INTO stays (contract, worked_at) SELECT contract, ?2 FROM instances"
        " WHERE contract = ?1",
        [(contract, now) for contract in contracts],
    )


def read_stays(connection: sqlite3.Connection) -> list[Stay]:
    """Every machine that was ever rented and ran."""
    rows = connection.execute(
        "SELECT attempts.machine, attempts.gpu, instances.gpu_hours, instances.since,"
        " instances.ended_by, stays.worked_at FROM instances"
        " JOIN attempts ON attempts.id = instances.attempt"
        " LEFT JOIN stays ON stays.contract = instances.contract WHERE instances.gpu_hours > 0"
    ).fetchall()
    return [
        Stay(
            machine=row["machine"],
            gpu=row["gpu"],
            hours=row["gpu_hours"],
            setup_hours=None
            if row["worked_at"] is None
            else max(0.0, row["worked_at"] - row["since"]) / 3_600,
            taken_away=row["ended_by"] == EndKind.TAKEN_AWAY.value,
        )
        for row in rows
    ]
