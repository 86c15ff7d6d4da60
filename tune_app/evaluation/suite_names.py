"""The names of what a model is evaluated on, known before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from data.suggestions import did_you_mean
from data.tasks.base import TaskError
from data.tasks.domains import PUBLISHED, read_published
from data.tasks.small_bench import TASKS, find_task

LANGUAGE = "language_modelling"
SMALL_BENCH = "small_bench"
LATENCY = "latency"
THROUGHPUT = "throughput"
KNOWN = (LANGUAGE, SMALL_BENCH, *TASKS, *PUBLISHED, LATENCY, THROUGHPUT)


def refuse_unknown_suite(name: str) -> None:
    """Raises TaskError for a name that is no suite and cannot be a text."""
    if name in KNOWN or Path(name.partition("#")[0]).exists() or _may_be_a_text(name):
        return
    raise TaskError(
        f"there is no suite {name!r}; {did_you_mean(name, KNOWN)}expected one of "
        f"{', '.join(KNOWN)}, or the path of a text"
    )


def refuse_missing_data(names: tuple[str, ...], folder: Path | None) -> None:
    """Raises TaskError for a suite that is unknown, or whose published files are not there.

    Without a folder tasks are read from the hub, which is asked only when they are evaluated.
    """
    for name in names:
        refuse_unknown_suite(name)
        if name in PUBLISHED:
            read_published(name, data_folder(folder, name))
        elif folder is not None and (name in TASKS or name == SMALL_BENCH):
            task_files(name, folder)


def task_files(name: str, folder: Path) -> dict[str, Path]:
    """The file of a task, or of each that there is. Raises TaskError if there is none."""
    data_folder(folder, name)
    wanted = TASKS if name == SMALL_BENCH else (name,)
    found = {one: path for one in wanted if (path := find_task(one, folder)) is not None}
    if found:
        return found
    if name == SMALL_BENCH:
        raise TaskError(
            f"{folder} has no file of {SMALL_BENCH}, such as sst2_validation.tsv; name the folder "
            "that has them with --data"
        )
    raise TaskError(f"{folder} has no file for {name}, such as {name}_validation.tsv")


def data_folder(folder: Path | None, name: str) -> Path:
    """The folder of published data. Raises TaskError if none is named, or it is not there."""
    if folder is None:
        raise TaskError(f"{name} needs its published files; name their folder with --data")
    if not folder.is_dir():
        raise TaskError(f"there is no folder {folder}; name the one of published data with --data")
    return folder


def _may_be_a_text(name: str) -> bool:
    return "/" in name or ":" in name or "." in name or name in ("stdlib", "tinystories")
