"""What a cluster's rented machines have cost so far, as its ledger counts it. In dollars.

The daemon on the head answers with a `Bill`; the journal keeps the newest one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RentedMachine:
    """A machine that was rented once, from the request until it was destroyed."""

    contract: int
    """The market's number of this rental."""
    worker: int | None
    """Its number k in the cluster; None for a machine that the cluster did not ask for."""
    machine: str
    """The market's name of the machine."""
    gpu: str
    dollars_per_hour: float
    """Of the GPU, while it runs."""
    since: float
    """Seconds since the epoch."""
    until: float
    """What it cost is counted up to here."""
    ended_at: float | None
    """When it was destroyed; None while it is rented."""
    ended_by: str
    """Why; empty while it is rented."""
    gpu_dollars: float
    """For the hours in which it ran."""
    setup: float
    """Downloads before it can work."""
    storage: float
    bandwidth: float
    """Both ways, after the set-up."""
    correction: float = 0.0
    """By how much the market charged more, or less, than the ledger had counted."""

    @property
    def dollars(self) -> float:
        return self.gpu_dollars + self.setup + self.storage + self.bandwidth + self.correction


@dataclass(frozen=True, kw_only=True)
class Bill:
    """All that a cluster has cost."""

    cluster: str
    """Its name."""
    at: float
    """Seconds since the epoch."""
    total: float
    """The ledger's own sum, of rented machines alone."""
    per_hour: float
    """Of all machines that are rented now."""
    cap: float
    """What the cluster may cost in all."""
    head_per_hour: float | None = None
    """What the head costs besides, in neither `total` nor `cap`; None if nobody named its price."""
    machines: tuple[RentedMachine, ...] = ()

    def to_values(self) -> dict[str, Any]:
        """As plain values, for the daemon's answer and for the journal."""
        return {**asdict(self), "machines": [asdict(one) for one in self.machines]}

    @classmethod
    def from_values(cls, values: object) -> Bill:
        """The inverse. Raises ValueError for values that are no bill; unknown names are dropped, so
        that the daemon may be newer than its client."""
        known = _known(cls, values, "bill")
        machines = known.get("machines", ())
        if not isinstance(machines, (list, tuple)):
            raise ValueError("a bill's machines are not a list")
        read = tuple(
            RentedMachine(**_known(RentedMachine, one, "machine of a bill")) for one in machines
        )
        return cls(**{**known, "machines": read})


def _known(kind: type[Any], values: object, name: str) -> dict[str, Any]:
    """The values of a record's fields, with finite numbers where numbers belong."""
    if not isinstance(values, Mapping):
        raise ValueError(f"a {name} is not an object")
    known: dict[str, Any] = {}
    for field in fields(kind):
        if field.name not in values:
            continue
        value = values[field.name]
        optional = field.type == "float | None"
        wanted = field.type == "float" or (optional and value is not None)
        if wanted and not _is_finite(value):
            raise ValueError(f"{field.name} of a {name} is {value!r}; it must be a finite number")
        known[field.name] = value
    try:
        kind(**known)
    except TypeError as error:
        raise ValueError(f"a {name} lacks values: {error}") from None
    return known


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
