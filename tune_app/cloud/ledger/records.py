"""The tables of the ledger, and their rows."""

from __future__ import annotations

from dataclasses import dataclass

from tune_app.cloud.ledger.states import RequestState

SCHEMA_VERSION = 3
SETTLED_S = 86_400.0

SCHEMA = """
CREATE TABLE cluster (name TEXT NOT NULL, closed TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE attempts (
    id TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    node_type TEXT NOT NULL,
    k INTEGER NOT NULL,
    label TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    offer INTEGER NOT NULL,
    machine INTEGER NOT NULL,
    gpu TEXT NOT NULL,
    cpus REAL NOT NULL,
    bid REAL NOT NULL,
    storage_per_hour REAL NOT NULL,
    bandwidth_per_hour REAL NOT NULL,
    setup REAL NOT NULL,
    sent_at REAL NOT NULL,
    contract INTEGER
) STRICT;
CREATE INDEX attempts_by_request ON attempts (request, sent_at);
-- A k belongs to an attempt from before it is sent until nothing of it is left.
CREATE TABLE slots (k INTEGER PRIMARY KEY, attempt TEXT, freed_at REAL) STRICT;
CREATE TABLE instances (
    contract INTEGER PRIMARY KEY,
    attempt TEXT,
    since REAL NOT NULL,
    counted_to REAL NOT NULL,
    status TEXT NOT NULL DEFAULT '',
    silent_since REAL,
    ran INTEGER NOT NULL DEFAULT 0,
    gpu_per_hour REAL NOT NULL,
    storage_per_hour REAL NOT NULL,
    bandwidth_per_hour REAL NOT NULL,
    hours REAL NOT NULL DEFAULT 0,
    gpu_hours REAL NOT NULL DEFAULT 0,
    estimated REAL NOT NULL DEFAULT 0,
    charged REAL,
    charged_at REAL,
    unforeseen REAL NOT NULL DEFAULT 0,
    doomed TEXT NOT NULL DEFAULT '',
    ended_at REAL,
    ended_reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE launches (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    node_type TEXT NOT NULL,
    succeeded INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE TABLE bad_machines (
    machine INTEGER PRIMARY KEY, reason TEXT NOT NULL, at REAL NOT NULL, until REAL NOT NULL
) STRICT;
"""

BAD_WORKERS = """
CREATE TABLE bad_workers (
    node_type TEXT NOT NULL,
    machine INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL,
    never_linked INTEGER NOT NULL
) STRICT;
"""
"""Since version 2."""

ACCOUNTS = """
ALTER TABLE cluster ADD COLUMN lost TEXT NOT NULL DEFAULT '';
CREATE TABLE credit (
    since REAL NOT NULL,
    credit REAL NOT NULL,
    dropped REAL NOT NULL,
    spent_before REAL NOT NULL,
    others_before REAL NOT NULL,
    others REAL NOT NULL
) STRICT;
CREATE TABLE drains (
    number INTEGER PRIMARY KEY,
    cause TEXT NOT NULL,
    reason TEXT NOT NULL,
    since REAL NOT NULL,
    deadline REAL NOT NULL,
    cap REAL NOT NULL,
    workers INTEGER NOT NULL,
    phase TEXT NOT NULL,
    saved INTEGER NOT NULL,
    ending_since REAL,
    ended_at REAL,
    is_over INTEGER NOT NULL
) STRICT;
-- When the first cell trained on an instance.
CREATE TABLE stays (contract INTEGER PRIMARY KEY, worked_at REAL NOT NULL) STRICT;
"""
"""Since version 3."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a request; it rents at most one instance."""

    id: str
    request: str
    node_type: str
    k: int
    label: str
    state: RequestState
    reason: str
    offer: int
    machine: int
    gpu: str
    cpus: float
    bid: float
    storage_per_hour: float
    bandwidth_per_hour: float
    setup: float
    sent_at: float
    contract: int | None


@dataclass(frozen=True, kw_only=True)
class Rental:
    """An instance, its hours and its dollars."""

    contract: int
    attempt: str | None
    """None for an instance that this cluster did not request."""
    since: float
    counted_to: float
    status: str
    silent_since: float | None
    ran: bool
    gpu_per_hour: float
    storage_per_hour: float
    bandwidth_per_hour: float
    hours: float
    gpu_hours: float
    estimated: float
    charged: float | None
    charged_at: float | None
    unforeseen: float
    """By how much the charges exceeded the estimate when last queried."""
    doomed: str
    ended_at: float | None
    ended_reason: str

    @property
    def dollars(self) -> float:
        """Charges arrive late, and estimates can be too low: the larger one counts.

        A day after the end the charges are complete, and they alone count.
        """
        if self.charged is None or self.charged_at is None or self.ended_at is None:
            settled = False
        else:
            settled = self.charged_at - self.ended_at > SETTLED_S
        return (self.charged or 0.0) if settled else self.estimated + self.unforeseen

    @property
    def per_hour(self) -> float:
        return self.gpu_per_hour + self.storage_per_hour + self.bandwidth_per_hour
