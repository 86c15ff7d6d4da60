"""The offline runs of W&B in a sweep's folder, and the command that uploads them."""

from __future__ import annotations

import shlex
from pathlib import Path

_FOLDER, _RUNS = "wandb", "offline-run-*"


def offline_runs(folder: Path) -> list[Path]:
    """Folders of the offline runs that `wandb sync` has not uploaded yet; it marks those it has."""
    return sorted(
        run for run in (folder / _FOLDER).glob(_RUNS) if not any(run.glob("run-*.wandb.synced"))
    )


def sync_command(folder: Path) -> str:
    """The command line that uploads the offline runs in a sweep's folder."""
    return f"wandb sync {shlex.quote(str(folder / _FOLDER))}/{_RUNS}"
