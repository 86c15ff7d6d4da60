"""The listeners that show a sweep in other tools while it runs."""

from __future__ import annotations

from pathlib import Path

from tune_app.journal.listener import SweepListener


def mirrors(folder: Path, *, wandb: str = "off") -> list[SweepListener]:
    """Listeners for Optuna and TensorBoard, and for W&B if requested.

    Raises ValueError for an unknown W&B mode, and for `online` without a key.
    """
    # Slow imports, which the command line should not wait for.
    from tune_app.results.mirrors.optuna import OptunaListener  # noqa: PLC0415
    from tune_app.results.mirrors.optuna_url import optuna_file  # noqa: PLC0415
    from tune_app.results.mirrors.tensorboard import (  # noqa: PLC0415
        TENSORBOARD,
        TensorBoardListener,
    )
    from tune_app.results.mirrors.wandb import WandbListener  # noqa: PLC0415

    listeners: list[SweepListener] = [
        OptunaListener(optuna_file(folder)),
        TensorBoardListener(folder / TENSORBOARD),
    ]
    if wandb != "off":
        listeners.append(WandbListener(folder, wandb))
    return listeners
