"""What a person looks at after a sweep, and while it runs.

Matplotlib, Arrow, Optuna and the rest are imported when something is written, not before: a look
at the status of a sweep should not wait for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tune_app.journal.journal import Journal
from tune_app.journal.listener import SweepListener

if TYPE_CHECKING:
    from tune_app.results.write import ResultPaths

STUDY = "study.sqlite3"
TENSORBOARD = "tensorboard"


def write_results(journal: Journal, folder: Path, *, live: bool = False) -> ResultPaths:
    """Rebuilds everything in `folder` from the journal alone: tables, plots, report, mirrors.

    Args:
        journal: of the sweep; it may be open for reading only, and the sweep may go on.
        folder: of the sweep.
        live: another process runs the sweep now and keeps the mirrors itself; they are left alone.

    Raises OSError where the folder cannot be written.
    """
    from tune_app.results.write import write_results as write  # noqa: PLC0415

    return write(journal, folder, live=live)


def mirrors(folder: Path, *, wandb: str = "off") -> list[SweepListener]:
    """Listeners that show a sweep elsewhere while it runs: Optuna, TensorBoard, W&B when asked.

    Raises ValueError for an unknown W&B mode, and for `online` where no key is known.
    """
    from tune_app.results.mirrors.optuna import StudyListener  # noqa: PLC0415
    from tune_app.results.mirrors.tensorboard import TensorBoardListener  # noqa: PLC0415
    from tune_app.results.mirrors.wandb import WandbListener  # noqa: PLC0415

    listeners: list[SweepListener] = [
        StudyListener(folder / STUDY),
        TensorBoardListener(folder / TENSORBOARD),
    ]
    if wandb != "off":
        listeners.append(WandbListener(folder, wandb))
    return listeners
