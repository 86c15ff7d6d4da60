"""What Ray starts in a process of its own, without Ray."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from data.prepared import PreparedCorpus
from tune_app.on_ray.messages import CELL
from tune_app.on_ray.trainable import CellTrainable
from tune_app.plan.cell import Cell
from tune_app.trial.checkpoint_interval import CheckpointTiming


def config_of(
    cell: Cell,
    corpus: PreparedCorpus,
    *,
    checkpoints: Path,
    micro_batch_size: int | None = None,
    interval: float | None = None,
    rungs: tuple[int, ...] = (),
) -> dict[str, Any]:
    """What the driver sends to a process about a cell and the sweep.

    Args:
        interval, rungs: of its checkpoints, as for CheckpointTiming.
    """
    return {
        "checkpoints": str(checkpoints),
        "timing": asdict(CheckpointTiming(interval=interval, rungs=rungs)),
        "share_compiled": "off",
        "cuda_graph": False,
        "kept_checkpoints": {"keep": None, "keep_best": 1},
        "corpora": {cell.tokenizer.key: str(corpus.folder)},
        "tokens": None,
        "threads": 1,
        "hang_s": 600.0,
        "device": "cpu",
        "gpus": 0.0,
        CELL: {
            "key": cell.key,
            "former_key": None,
            "values": cell.values(),
            "solved": None,
            "micro_batch_size": micro_batch_size,
        },
    }


def started(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> CellTrainable:
    """A process that was started for a cell."""
    node = SimpleNamespace(get_node_id=lambda: "0123456789")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: node)
    process = CellTrainable.__new__(CellTrainable)
    process.setup(config)
    return process
