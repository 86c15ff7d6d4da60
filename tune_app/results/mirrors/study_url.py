"""The URL of a study file for Optuna and its dashboard."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote


def study_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path contains.

    SQLAlchemy decodes `%20` and treats text after `?` as options, and Optuna expands braces.
    """
    return "sqlite:///" + quote(str(path), safe="/ ")
