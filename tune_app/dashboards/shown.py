"""What is shown of a folder: a sweep, or a study with its phases."""

from __future__ import annotations

from pathlib import Path

from tune_app.study.definition import DEFINITION
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.listing import open_named


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's."""
    return (folder / DEFINITION).is_file()


def phases_in(folder: Path) -> list[Path]:
    """The folders of a study's phases that have begun."""
    return sorted(path.parent for path in folder.glob(f"*/{JOURNAL}"))


def shown_folder(name: str, results: Path) -> Path:
    """The folder of a sweep or a study that is named or given as a path.

    Raises ValueError that names the sweeps there are, if there is none.
    """
    given = Path(name).expanduser()
    for folder in (given, results / name):
        if (folder / JOURNAL).is_file() or is_study(folder):
            return folder
    open_named(name, results).close()  # says which sweeps there are
    raise AssertionError("it raised an error")
