"""A training in this process alone, or by several that share the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from model.spec import ModelConfig
from model.training.compiler import Compiler
from model.training.settings import TrainingConfig
from model.training.step_graph import CudaRecorder, require_graphs
from model.training.training import BatchSource, Training

if TYPE_CHECKING:
    from model.training.shards.sharded import ShardedTraining


def open_training(
    config: ModelConfig,
    training: TrainingConfig,
    batches: BatchSource,
    *,
    baseline: ModelConfig,
    device: str = "cpu",
    compiler: Compiler | None = None,
    sequences: Callable[[int], int] | None = None,
    processes: int = 1,
    cuda_graph: bool = False,
) -> Training | ShardedTraining:
    """A training by so many processes; only one alone compiles.

    cuda_graph: whether a step is started as one CUDA graph, with the same results.

    Raises ValueError below 1, and for a CUDA graph elsewhere than in one process on CUDA; see the
    classes for the rest.
    """
    if processes < 1:
        raise ValueError(f"{processes} processes are to train; it must be at least 1")
    if cuda_graph:
        require_graphs(device, processes=processes)
    if processes == 1:
        return Training(
            config,
            training,
            batches,
            baseline=baseline,
            device=device,
            compiler=compiler,
            sequences=sequences,
            recorder=CudaRecorder(device) if cuda_graph else None,
        )
    from model.training.shards.sharded import ShardedTraining  # noqa: PLC0415 - slow to import

    return ShardedTraining(
        config,
        training,
        batches,
        baseline=baseline,
        processes=processes,
        device=device,
        sequences=sequences,
    )
