"""What a sweep cost in dollars: by cell, by machine, and what interruptions cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tune_app import formats
from tune_app.dollars.accounting import Account
from tune_app.dollars.interruptions import repeated_dollars
from tune_app.dollars.limit import dollars
from tune_app.journal.records import Attempt, FailureClass, Place
from tune_app.results.designs import CellResult

if TYPE_CHECKING:
    from tune_app.results.summary import SweepResults

_LOSSES = (FailureClass.HOST, FailureClass.NETWORK, FailureClass.MEMORY, FailureClass.STORAGE)
"""Failures that end an attempt, and not the cell, and are no fault of it."""
_SHOWN = 20
"""Most rows of a table: of interruptions the newest, of machines the dearest."""


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """An attempt that ended before its cell did, and was continued by another."""

    cell: CellResult
    attempt: Attempt
    reason: str
    tokens: int
    """Trained again, of the cell's own tokenizer."""
    dollars: float
    """For these."""


def interruptions(account: Account, cell: CellResult) -> list[Interruption]:
    """The interruptions of a cell that have been overcome, in order."""
    found = []
    for attempt, following in zip(cell.attempts, cell.attempts[1:], strict=False):
        loss = next(
            (
                one
                for one in cell.failures
                if one.kind in _LOSSES
                and not one.ended
                and attempt.started_at <= one.at <= following.started_at
            ),
            None,
        )
        if loss is None or following.resumed_from is None:
            continue
        found.append(
            Interruption(
                cell=cell,
                attempt=attempt,
                reason=loss.cause or loss.reason,
                tokens=max(0, loss.tokens - following.resumed_from),
                dollars=repeated_dollars(
                    account.attempts.get((cell.cell.key, attempt.number), 0.0),
                    resumed_from=attempt.resumed_from or 0,
                    reached=loss.tokens,
                    continued_from=following.resumed_from,
                ),
            )
        )
    return found


def charged_dollars(results: SweepResults, cell: CellResult) -> Mapping[str, float | None]:
    """The columns of a cell; none in a sweep without prices."""
    account = results.account
    if account is None:
        return {}
    return {
        "dollars": cell.dollars,
        "repeated_dollars": sum(one.dollars for one in interruptions(account, cell)),
    }


def cost_section(results: SweepResults) -> dict[str, Any] | None:
    """Values for the reports' templates; None in a sweep without prices."""
    account = results.account
    if account is None:
        return None
    lost = [one for cell in results.cells for one in interruptions(account, cell)]
    return {
        "summary": _summary(results, account, lost),
        "parts": [
            {
                "name": name,
                "dollars": dollars(amount),
                "share": f"{amount / account.total:.0%}" if account.total > 0 else "",
                "meaning": meaning,
            }
            for name, amount, meaning in _parts(account)
            if amount or name == "cells"
        ],
        "machines": _machines(results, account),
        "interruptions": [
            {
                "label": one.cell.cell.label,
                "machine": _machine_name(one.attempt.place),
                "tokens": formats.count(one.tokens),
                "dollars": dollars(one.dollars),
                "reason": formats.one_line(one.reason),
            }
            for one in lost[-_SHOWN:]
        ],
    }


def _parts(account: Account) -> list[tuple[str, float, str]]:
    return [
        ("cells", account.trained, "time of cells on machines"),
        ("idle", account.idle, "machines that trained nothing while the sweep ran"),
        ("set-up", account.setup, "downloads, and the GPU until its first cell"),
        ("storage", account.storage, "disks of rented machines"),
        ("bandwidth", account.bandwidth, "both ways, after the set-up"),
        ("head", account.head, "the cluster's head while this sweep ran; not in the cluster's cap"),
        ("outside", account.outside, "of the cluster, while this sweep did not run"),
    ]


def _summary(results: SweepResults, account: Account, lost: Sequence[Interruption]) -> str:
    text = f"{dollars(account.spent)} in all"
    finished = [cell for design in results.designs for cell in design.finished]
    if finished and account.trained > 0:
        text += (
            f", {dollars(account.spent / len(finished))} for each of "
            f"{formats.counted(len(finished), 'finished cell')}"
        )
    if lost:
        again = sum(one.dollars for one in lost)
        text += f"; {formats.counted(len(lost), 'interruption')} cost {dollars(again)} of it"
    if account.head:
        text += (
            f". {dollars(account.head)} of it is for the head while this sweep ran, which the "
            "cluster's cap does not count, and which bills on"
        )
    elif not account.head_is_priced:
        text += ", without the head, whose price is not named"
    named = {
        one.place.dollars_per_hour
        for cell in results.cells
        for one in cell.attempts
        if one.place.contract is None and one.place.dollars_per_hour is not None
    }
    if named:
        prices = " and ".join(f"${price:g}" for price in sorted(named))
        text += (
            f". {prices} an hour is a price that was named for the machine, not one that was paid"
        )
    return f"{text}."


def _machines(results: SweepResults, account: Account) -> list[dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in results.cells:
        for one in cell.attempts:
            charge = account.attempts.get((cell.cell.key, one.number))
            if charge is None:
                continue
            place = one.place
            row = found.setdefault(
                (place.contract, place.machine, place.dollars_per_hour),
                {"place": place, "attempts": 0, "charge": 0.0},
            )
            row["attempts"] += 1
            row["charge"] += charge
    rows = sorted(found.values(), key=lambda row: -row["charge"])[:_SHOWN]
    return [
        {
            "machine": _machine_name(row["place"]),
            "gpu": row["place"].gpu or formats.UNKNOWN,
            "price": _price(row["place"]),
            "attempts": row["attempts"],
            "hours": _hours(row["place"], row["charge"]),
            "dollars": dollars(row["charge"]),
        }
        for row in rows
    ]


def _machine_name(place: Place) -> str:
    if place.worker is None:
        return place.machine or formats.UNKNOWN
    return f"worker {place.worker} ({place.machine or formats.UNKNOWN})"


def _price(place: Place) -> str:
    price = place.dollars_per_hour
    return formats.UNKNOWN if price is None else f"{price:.3f}"


def _hours(place: Place, charge: float) -> str:
    return f"{charge / place.dollars_per_hour:.2f}" if place.dollars_per_hour else formats.UNKNOWN
