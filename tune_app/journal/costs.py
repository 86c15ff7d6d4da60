"""What a sweep has cost, from all that its journal says of machines and dollars."""

from __future__ import annotations

from dataclasses import replace

from tune_app.dollars.accounting import Account, Run, Stay, account
from tune_app.journal.reading import JournalReader
from tune_app.journal.records import Attempt


def account_of(journal: JournalReader, *, now: float | None = None) -> Account | None:
    """The account of a sweep; None if nothing in it has a price.

    now: seconds since the epoch, while a driver trains; None for the time that was last recorded.
    """
    with journal.one_moment():
        runs, bills, attempts = journal.runs(), journal.bills(), journal.attempts()
    if not bills and all(run.dollars_per_hour is None for run in runs):
        return None
    if now is not None and runs:
        runs[-1] = replace(runs[-1], until=max(runs[-1].until, now))
    by_number = {run.number: run for run in runs}
    stays = [_stay(one, by_number[one.run]) for one in attempts if one.run in by_number]
    return account(stays, runs, bills)


def _stay(attempt: Attempt, run: Run) -> Stay:
    return Stay(
        attempt=(attempt.cell, attempt.number),
        start=attempt.started_at,
        # One without an end is still there.
        end=run.until if attempt.ended_at is None else attempt.ended_at,
        contract=attempt.place.contract,
        run=attempt.run,
    )
