"""A journal as text: a line for each row, so that a difference has a place and both values.

The text is made from the file as it is, whichever version of Stellux wrote it, and outlives
SQLite.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

from tune_app import formats
from tune_app.journal.file import JournalError
from tune_app.reproduction.difference import Difference, difference

TEXT = "journal.jsonl"


def copy_journal(journal: Path, copy: Path) -> None:
    """A copy in one file, with everything that its log still holds."""
    with (
        closing(sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # a log would be a second file


def write_journal_text(journal: Path, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in journal_lines(journal))


def check_journal_text(journal: Path, text: Path, *, name: str) -> None:
    """Raises Difference for the first row that is not as the text says.

    name: of the journal in the bundle.
    """
    with text.open(encoding="utf-8") as file:
        said = (line.rstrip("\n") for line in file)
        for number, (old, new) in enumerate(zip_longest(said, journal_lines(journal)), 1):
            if old != new:
                raise difference(
                    f"{name}: row {number} of {TEXT}",
                    old=old or "(no such row)",
                    new=new or "(no such row)",
                )


def journal_lines(journal: Path) -> Iterator[str]:
    """Every row of every table, in order, as a JSON object with the name of its table.

    Raises JournalError if the file is not a database, or is damaged.
    """
    try:
        with closing(
            sqlite3.connect(f"{journal.absolute().as_uri()}?immutable=1", uri=True)
        ) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            yield json.dumps({"user_version": version})
            tables = connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            ).fetchall()
            for (table,) in tables:
                quoted = '"' + table.replace('"', '""') + '"'
                rows = connection.execute(f"SELECT * FROM {quoted} ORDER BY rowid")
                columns = [column[0] for column in rows.description]
                for row in rows:
                    values = dict(zip(columns, row, strict=True))
                    yield json.dumps({"table": table, **values}, ensure_ascii=False, default=repr)
    except sqlite3.DatabaseError as error:
        raise JournalError(
            f"{journal} is not a readable journal ({formats.one_line(str(error))})"
        ) from error


def as_difference(error: JournalError, *, name: str) -> Difference:
    """A journal that can no longer be read is one that differs from the one that was packed."""
    return Difference(name, old="a readable journal", new=formats.one_line(str(error)))
