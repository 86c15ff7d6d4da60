"""How far each cell has come, from everything that the journal knows of it."""

from __future__ import annotations

from dataclasses import dataclass

from tune_app.journal.reading import JournalReader


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How far a cell has come, in tokens of its own tokenizer."""

    tokens: int
    """At the furthest of its last heartbeat, its observations and its checkpoint."""
    saved: int | None
    """At its newest recorded checkpoint, from which it resumes; None if none is recorded."""


def reached(journal: JournalReader) -> dict[str, Reached]:
    """How far each cell has come that was ever heard of.

    A killed process may have evaluated or saved a cell after its last heartbeat. The store may hold
    a newer checkpoint than the journal records: a kill can come between the two.
    """
    with journal.one_moment():
        beats = {key: beat.tokens for key, beat in journal.heartbeats().items()}
        checkpoints = journal.checkpoints()
        seen: dict[str, int] = {}
        for one in journal.observations():
            seen[one.cell] = max(seen.get(one.cell, 0), one.tokens)
    saved = {key: tokens_of(url) for key, url in checkpoints.items()}
    return {
        key: Reached(
            tokens=max(beats.get(key, 0), seen.get(key, 0), saved.get(key) or 0),
            saved=saved.get(key),
        )
        for key in beats.keys() | seen.keys() | saved.keys()
    }


def tokens_of(checkpoint: str) -> int | None:
    """Tokens of a checkpoint by its name, path or URL, as `3f2a…/102400-0c5e….pt`; None if it has
    none."""
    text = checkpoint.rpartition("/")[2].partition("-")[0].partition(".")[0]
    return int(text) if text.isdecimal() else None
