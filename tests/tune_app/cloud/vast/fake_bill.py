"""What the API on loopback bills, by kind and day, and the rows in which it tells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DAY = 86_400.0
HOUR = 3_600.0


@dataclass
class Bill:
    """Dollars of one instance."""

    hours: dict[tuple[str, float], float] = field(default_factory=lambda: defaultdict(float))
    """Kind and beginning of the hour → dollars."""

    def add(self, kind: str, dollars: float, at: float) -> None:
        if dollars:
            self.hours[kind, at // HOUR * HOUR] += dollars

    def run(self, kind: str, per_hour: float, since: float, until: float) -> None:
        """Bills the time between the two."""
        while since < until:
            end = min(until, (since // HOUR + 1) * HOUR)
            self.add(kind, (end - since) / HOUR * per_hour, since)
            since = end

    def of(self, kind: str) -> float:
        return sum(dollars for (name, _), dollars in self.hours.items() if name == kind)

    @property
    def total(self) -> float:
        return sum(self.hours.values())


def charge_rows(
    bills: Mapping[int, tuple[str, Bill]], *, first: float, last: float, known_until: float
) -> list[dict[str, Any]]:
    """A row for each contract and day, dated midnight, if midnight is within the range.

    Args:
        bills: contract → label and bill.
        known_until: what was billed later does not appear yet.
    """
    rows: list[dict[str, Any]] = []
    for contract, (label, bill) in bills.items():
        days: dict[float, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for (kind, at), dollars in bill.hours.items():
            if at <= known_until:
                days[at // DAY * DAY][kind] += dollars
        rows += [
            {
                "start": day,
                "end": day + DAY,
                "type": "instance",
                "source": f"instance-{contract}",
                "description": label,
                "amount": sum(parts.values()),
                "metadata": {"label": label},
                "items": [{"type": kind, "amount": dollars} for kind, dollars in parts.items()],
            }
            for day, parts in sorted(days.items())
            if first <= day <= last
        ]
    return rows
