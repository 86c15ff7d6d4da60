"""Where Optuna's view of a sweep is: its file, and its URL for Optuna and its dashboard."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

OPTUNA = "optuna.sqlite3"
"""The name of the file in a sweep's folder."""
_FORMER = "study.sqlite3"
"""Its name in folders of earlier versions, which keep it."""


def optuna_file(folder: Path) -> Path:
    """The file in a sweep's folder, under the name that it has there."""
    former = folder / _FORMER
    return former if former.exists() and not (folder / OPTUNA).exists() else folder / OPTUNA


def optuna_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path contains.

    SQLAlchemy decodes `%20` and treats text after `?` as options, and Optuna expands braces.
    """
    return "sqlite:///" + quote(str(path), safe="/ ")
