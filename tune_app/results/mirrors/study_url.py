"""Under which URL Optuna and its dashboard find a study on a disk."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote


def study_url(path: Path) -> str:
    """The URL of a SQLite file, whatever its path has in it.

    SQLAlchemy decodes `%20` and takes what stands behind `?` for options, and Optuna fills in
    what stands in braces.
    """
    return "sqlite:///" + quote(str(path), safe="/ ")
