"""What one sweep's journal takes over from another's about a cell that both have.

Cells are equal if their keys are, so what was trained in one sweep need not be trained in the next.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from tune_app.journal import rows
from tune_app.journal.reading import JournalReader
from tune_app.journal.records import (
    DIVERGED,
    Attempt,
    CellEvaluation,
    Decision,
    Failure,
    Observation,
    Score,
    Status,
)


@dataclass(frozen=True, kw_only=True)
class AdoptedCell:
    """All that a journal has recorded about a cell."""

    key: str
    status: Status
    reason: str
    attempts: tuple[Attempt, ...]
    observations: tuple[Observation, ...]
    """In order of tokens."""
    decisions: tuple[Decision, ...]
    checkpoint: str | None
    """A path that does not depend on the sweep's folder, or a URL."""
    failures: tuple[Failure, ...]
    scores: tuple[Score, ...]
    evaluations: tuple[CellEvaluation, ...]


def adopted_cell(journal: JournalReader, key: str, *, checkpoint: str | None) -> AdoptedCell | None:
    """What a journal says about a cell, for another sweep; None if it was never observed.

    A cell that was trained to its end, or diverged, is adopted as it ended. Any other one goes on
    from its newest checkpoint: that a rule stopped or paused it there was said against the cells of
    that sweep, so these decisions are left behind.

    checkpoint: where its newest one is, wherever the journal's folder is; None if it has none.
    """
    with journal.one_moment():
        cell = journal.cell(key)
        observations = tuple(sorted(journal.observations(key), key=lambda one: one.tokens))
        decisions = tuple(one for one in journal.decisions() if one.cell == key and one.action.ends)
        attempts, failures = tuple(journal.attempts(key)), tuple(journal.failures(key))
        scores = tuple(one for one in journal.scores() if one.cell == key)
        evaluations = tuple(journal.evaluations(key))
    if not observations:
        return None
    whole = cell.status is Status.FINISHED or any(one.rule == DIVERGED for one in decisions)
    return AdoptedCell(
        key=key,
        status=cell.status if whole else Status.INTERRUPTED,
        reason=cell.reason if whole else "",
        attempts=attempts,
        observations=observations,
        decisions=decisions if whole else (),
        checkpoint=checkpoint,
        failures=failures if whole else (),
        scores=scores if whole else (),
        evaluations=evaluations if whole else (),
    )


def adopted_beginning(journal: JournalReader, key: str, *, as_key: str, until: int) -> AdoptedCell:
    """What a journal says about the first tokens of a finished cell, for the same cell on more.

    Args:
        as_key: of the cell on more tokens.
        until: tokens of the cell's own tokenizer, from which it goes on.
    """
    with journal.one_moment():
        observations = sorted(journal.observations(key), key=lambda one: one.tokens)
        attempts = journal.attempts(key)
    return AdoptedCell(
        key=as_key,
        status=Status.INTERRUPTED,
        reason="",
        attempts=tuple(replace(one, cell=as_key) for one in attempts),
        observations=tuple(
            replace(one, cell=as_key) for one in observations if one.tokens <= until
        ),
        decisions=(),
        checkpoint=None,
        failures=(),
        scores=(),
        evaluations=(),
    )


def write_adopted(connection: sqlite3.Connection, cell: AdoptedCell) -> None:
    """Writes it into a journal that has the cell and nothing about it; in the caller's transaction.

    Times are those of the other sweep; amendments are its own and are not taken over.
    """
    connection.execute(
        "UPDATE cells SET status = ?, reason = ?, attempts = ? WHERE key = ?",
        [cell.status.value, cell.reason, len(cell.attempts), cell.key],
    )
    for attempt in cell.attempts:
        connection.execute(
            "INSERT INTO attempts (cell, number, host, started_at, resumed_from)"
            " VALUES (?, ?, ?, ?, ?)",
            [cell.key, attempt.number, attempt.host, attempt.started_at, attempt.resumed_from],
        )
    at = {decision.tokens: decision for decision in cell.decisions}
    known = cell.attempts[-1].started_at if cell.attempts else 0.0
    for observation in cell.observations:
        decision = at.get(observation.tokens)
        moment = decision.at if decision is not None else known
        arrival = connection.execute(
            "INSERT INTO observations (cell, tokens, record, at) VALUES (?, ?, ?, ?)",
            [cell.key, observation.tokens, rows.dump(observation.to_values()), moment],
        ).lastrowid
        assert arrival is not None
        if decision is not None:
            connection.execute(
                "INSERT INTO decisions (arrival, cell, tokens, action, rule, reason, evidence, at,"
                " amendment) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
                rows.decision_row(replace(decision, amendment=0), arrival=arrival, at=decision.at),
            )
    if cell.checkpoint is not None:
        connection.execute(
            "INSERT INTO checkpoints (cell, url, at) VALUES (?, ?, ?)",
            [cell.key, cell.checkpoint, known],
        )
    for failure in cell.failures:
        connection.execute(
            "INSERT INTO failures (cell, kind, reason, traceback, ended, at, host, tokens, cause,"
            " remedy) VALUES (:cell, :kind, :reason, :traceback, :ended, :at, :host, :tokens,"
            " :cause, :remedy)",
            rows.failure_row(failure),
        )
    for score in cell.scores:
        connection.execute(
            "INSERT INTO scores (cell, split, tokens, bits_per_byte, perplexity, text_bytes, at)"
            " VALUES (:cell, :split, :tokens, :bits_per_byte, :perplexity, :text_bytes, :at)",
            rows.score_row(score),
        )
    for evaluation in cell.evaluations:
        connection.execute(
            "INSERT INTO evaluations (cell, suite, split, metrics, notes, at)"
            " VALUES (:cell, :suite, :split, :metrics, :notes, :at)",
            rows.evaluation_row(evaluation),
        )
