"""What all clusters of one account may spend together, kept beside the account's key.

No head knows of another's spending at any moment. So each cluster's cap is set aside as a whole
when it comes up, and what it did not spend is free again when it is down: the sum of what may still
be spent and of what was spent never exceeds the total, whatever the heads do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock

from tune_app.cloud.whole_files import write_file

FILE = ".config/vastai/stellux_total.json"
"""In the home, beside the key's file."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """One cluster's part of the total, in dollars."""

    cap: float
    spent: float | None = None
    """What it spent in the end; None while it may still spend."""
    before: float = 0.0
    """What it had spent when it came up last."""

    @property
    def counts(self) -> float:
        return self.cap if self.spent is None else self.spent

    @property
    def known(self) -> float:
        """What it certainly spent."""
        return self.before if self.spent is None else self.spent


@dataclass(frozen=True, kw_only=True)
class AccountTotal:
    """The total and its shares."""

    dollars: float | None = None
    """None for no total."""
    shares: Mapping[str, Share] = field(default_factory=dict)
    """By cluster."""

    def taken(self, but: str = "") -> float:
        """By all clusters, or by all but one."""
        return sum(share.counts for name, share in self.shares.items() if name != but)

    def refusal(self, cluster: str, cap: float) -> str | None:
        """Why a cluster may not have this cap, or None if it may."""
        if self.dollars is None or self.taken(cluster) + cap <= self.dollars:
            return None
        others = "; ".join(
            f"{name} {_of(share)}" for name, share in sorted(self.shares.items()) if name != cluster
        )
        free = max(self.dollars - self.taken(cluster), 0.0)
        return (
            f"cap_dollars is {cap:g}, and ${free:.2f} of the total of ${self.dollars:.2f} for all "
            f"clusters of this account is free ({others or 'no other cluster'}): lower the cap, "
            "end another cluster with ray down, or raise the total with python -m tune_app.cloud "
            "total --total-dollars"
        )

    def with_cap(self, cluster: str, cap: float) -> AccountTotal:
        """With a cluster that may spend. Raises ValueError if its cap does not fit.

        A lower cap than before frees nothing until the cluster is down: it may be spent already.
        """
        before = self.shares.get(cluster)
        cap = cap if before is None else max(cap, before.counts)
        refusal = self.refusal(cluster, cap)
        if refusal is not None:
            raise ValueError(refusal)
        known = 0.0 if before is None else before.known
        return replace(self, shares={**self.shares, cluster: Share(cap=cap, before=known)})

    def ended(self, cluster: str, spent: float) -> AccountTotal:
        """With a cluster that is down, for as long as its cap is not set aside again.

        What it spent before stays spent: a head that is asked once more has forgotten it.
        """
        share = self.shares.get(cluster, Share(cap=spent))
        ended = replace(share, spent=max(spent, share.known))
        return replace(self, shares={**self.shares, cluster: ended})

    def lines(self) -> list[str]:
        """The total and its shares, for people."""
        if self.dollars is None:
            return ["no total for all clusters; set one with --total-dollars"]
        free = max(self.dollars - self.taken(), 0.0)
        return [
            f"${self.dollars:.2f} for all clusters of this account, ${free:.2f} of it free",
            *(f"  {name} {_of(share)}" for name, share in sorted(self.shares.items())),
        ]


def _of(share: Share) -> str:
    if share.spent is None:
        return f"may spend ${share.cap:.2f}"
    return f"spent ${share.spent:.2f}"


def read_total(home: Path) -> AccountTotal:
    """The total; none if no file is there. Raises ValueError for a file that cannot be read."""
    path = home / FILE
    try:
        values = json.loads(path.read_text("utf-8"))
        shares = {
            str(name): Share(
                cap=_dollars(one["cap"]),
                spent=None if one["spent"] is None else _dollars(one["spent"]),
                before=_dollars(one.get("before", 0.0)),
            )
            for name, one in values["clusters"].items()
        }
        total = values["total_dollars"]
        return AccountTotal(dollars=None if total is None else _dollars(total), shares=shares)
    except FileNotFoundError:
        return AccountTotal()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error!r}): it says what all clusters of the account may "
            "spend; correct it, or remove it and set the total again"
        ) from None


def set_total(home: Path, dollars: float) -> AccountTotal:
    """Sets what all clusters may spend together. Raises ValueError if more is taken already."""
    if not (math.isfinite(dollars) and dollars > 0):
        raise ValueError(f"the total is {dollars:g} dollars; it must be a number over 0")
    with _changing(home) as total:
        if total.taken() > dollars:
            raise ValueError(
                f"the total is {dollars:g} dollars, and clusters have taken ${total.taken():.2f} "
                "already: end one with ray down, which frees what it did not spend"
            )
        return _written(home, replace(total, dollars=dollars))


def set_aside(home: Path, cluster: str, cap: float) -> None:
    """Sets a cluster's cap aside, if there is a total. Raises ValueError if it does not fit."""
    if not (home / FILE).exists():
        return
    with _changing(home) as total:
        _written(home, total.with_cap(cluster, cap))


def set_free(home: Path, cluster: str, spent: float) -> None:
    """Frees what a cluster that is down did not spend, if there is a total."""
    if not (home / FILE).exists():
        return
    with _changing(home) as total:
        _written(home, total.ended(cluster, spent))


@contextmanager
def _changing(home: Path) -> Iterator[AccountTotal]:
    """Alone among all commands of this machine."""
    path = home / FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(path.with_name(f"{path.name}.lock"), timeout=30):
        yield read_total(home)


def _written(home: Path, total: AccountTotal) -> AccountTotal:
    values = {
        "total_dollars": total.dollars,
        "clusters": {
            name: {"cap": share.cap, "spent": share.spent, "before": share.before}
            for name, share in total.shares.items()
        },
    }
    write_file(home / FILE, json.dumps(values, indent=2) + "\n", mode=0o600)
    return total


def _dollars(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no number of dollars")
    return float(value)
