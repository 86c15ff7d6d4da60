"""How far each cell of a running sweep is, read from its journal while the driver writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

RUNNING = "running"
_ENDED = ("finished", "stopped", "failed", "infeasible")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A cell was seen to have trained so many tokens; the last report of it was at `at`."""

    cell: str
    tokens: int
    at: float
    """Seconds since the epoch."""


class Progress:
    """What a journal says of the cells, and what it said before."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self.samples: list[Sample] = []
        """Every change that was seen, in order."""
        self.tokens: dict[str, int] = {}
        """Of each cell, as its last report has it: less again after a resume."""
        self.statuses: Mapping[str, str] = {}
        self.attempts: Mapping[str, int] = {}

    def look(self) -> None:
        """Reads the journal; nothing happens while there is none."""
        try:
            uri = f"{self._journal.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
                cells = connection.execute("SELECT key, status, attempts FROM cells").fetchall()
                reports = connection.execute(
                    "SELECT cell, tokens, at FROM heartbeats UNION ALL"
                    " SELECT cell, max(tokens), at FROM observations GROUP BY cell"
                ).fetchall()
        except sqlite3.OperationalError:
            return
        self.statuses = {key: status for key, status, _ in cells}
        self.attempts = {key: attempts for key, _, attempts in cells}
        newest: dict[str, tuple[float, int]] = {}
        for cell, tokens, at in reports:
            newest[cell] = max(newest.get(cell, (0.0, 0)), (at, tokens))
        for cell, (at, tokens) in newest.items():
            if tokens != self.tokens.get(cell):
                self.tokens[cell] = tokens
                self.samples.append(Sample(cell=cell, tokens=tokens, at=at))

    @property
    def running(self) -> list[str]:
        return sorted(cell for cell, status in self.statuses.items() if status == RUNNING)

    @property
    def ended(self) -> list[str]:
        return sorted(cell for cell, status in self.statuses.items() if status in _ENDED)

    @property
    def all_ended(self) -> bool:
        over = (*_ENDED, "paused")
        return bool(self.statuses) and all(status in over for status in self.statuses.values())
