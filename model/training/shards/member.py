"""What each process of a sharded training does: the steps of its part of the model and batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from model.freed_memory import return_freed_memory
from model.network.batch import Batch, TensorBatch
from model.network.transformer import Transformer
from model.spec import ModelConfig
from model.training.settings import TrainingConfig
from model.training.shards.states import gathered, scattered
from model.training.training import BatchSource, StepResult, Training


@dataclass(frozen=True, kw_only=True, eq=False)
class Part(TensorBatch):
    """A process's sequences of a batch."""

    processes: int
    """With as many sequences each."""
    scored_of_all: int
    """Scored targets of the whole batch."""

    @property
    def tokens(self) -> int:
        """Number of tokens of the whole batch."""
        return super().tokens * self.processes

    @property
    def scored(self) -> int:
        """Number of scored targets, over which the loss is a mean: those of the whole batch."""
        return self.scored_of_all


@dataclass(frozen=True, kw_only=True, eq=False)
class SentPart:
    """A part on its way to another process."""

    inputs_BT: NDArray[np.int64]
    targets_BT: NDArray[np.int64]
    mask_BT: NDArray[np.bool_] | None
    extras: Mapping[str, NDArray[Any]]
    processes: int
    scored_of_all: int

    @classmethod
    def of(cls, part: TensorBatch, *, processes: int, scored_of_all: int) -> SentPart:
        """A part to send."""
        return cls(
            inputs_BT=part.inputs_BT.cpu().numpy(),
            targets_BT=part.targets_BT.cpu().numpy(),
            mask_BT=None if part.mask_BT is None else part.mask_BT.cpu().numpy(),
            extras={name: tensor.cpu().numpy() for name, tensor in part.extras.items()},
            processes=processes,
            scored_of_all=scored_of_all,
        )

    def on(self, device: str) -> Part:
        """The part on a device."""
        whole = TensorBatch.of(self, device=device)
        return Part(**vars(whole), processes=self.processes, scored_of_all=self.scored_of_all)


class _NoBatches:
    """Where batches come from in a process that is sent its part of each."""

    def batch(self, step: int) -> Batch:
        raise AssertionError("a member is given its part of a batch")


class Member(Training):
    """The part of a training that one process has.

    All processes have to call the same methods in the same order, the constructor included.

    Args:
        mesh: of all processes; the process group must exist.
        device: of this process.

    The others are those of Training.
    """

    KEEPS_CASTS = False
    """They would be of the whole model, not of this process's part."""
    SHARED = True

    def __init__(
        self,
        config: ModelConfig,
        training: TrainingConfig,
        *,
        baseline: ModelConfig,
        device: str,
        mesh: DeviceMesh,
    ) -> None:
        self._mesh = mesh
        self._part: Part | None = None
        super().__init__(config, training, _NoBatches(), baseline=baseline, device=device)
        self.environment["processes"] = mesh.size()
        if self._compiles:
            self._run_eager("a model that several processes train is not compiled")

    def read_from(self, batches: BatchSource, sequences: Callable[[int], int] | None) -> None:
        """Gives the first process what `next_batch` reads: see Training."""
        self._batches, self._sequences = batches, sequences

    def next_batch(self) -> TensorBatch:
        """The whole batch of the next step; in the first process alone, and nobody else waits."""
        return super()._batch()

    def step_on(self, part: Part, *, learning_rate: float | None = None) -> StepResult:
        """A step on a batch of which this process has a part; the result is that of the batch."""
        self._part = part
        return self.step(learning_rate=learning_rate)

    def whole_state(self, *, keep: bool) -> dict[str, Any]:
        """The state as a single process has it, on the CPU; see `gathered`."""
        state: dict[str, Any] = gathered(self.state_dict(), keep=keep)
        return state

    def load_whole_state(self, state: Mapping[str, Any]) -> None:
        """Continues from a state that the first process has; see `scattered`."""
        self._load_state(scattered(state, self._mesh))

    @torch.no_grad()
    def copy_weights(self, to: Transformer | None) -> None:
        """Puts the weights together in a model that is not cut; None where it is not wanted."""
        whole = {} if to is None else dict(to.named_parameters())
        for name, parameter in self.model.named_parameters():
            assert isinstance(parameter, DTensor)
            weights = parameter.full_tensor()
            if to is not None:
                whole[name].copy_(weights)
        if to is not None:
            for buffer, own in zip(to.buffers(), self.model.buffers(), strict=True):
                buffer.copy_(own)

    def _manage_freed_memory(self) -> None:
        """Memory counts more than time where a model is shared, and each process frees much: the
        whole model, once it has its part, and in every step the blocks that it put together."""
        return_freed_memory()

    def _network(self) -> Transformer:
        """The model that a single process would train, cut into parts.

        A block is put together while it computes; what is outside of blocks, for the whole step. A
        GPU is sent a block at a time, to keep its part: it need not hold the model at once.
        Weights are sent in fp32 and become bf16 where they are used, so that a step computes what a
        single process does.
        """
        model = super()._network()
        for module in (*model.blocks, model):
            sharded = fully_shard(module, mesh=self._mesh)
            # Losses are shares of the batch's mean already: gradients are added up.
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)
        register_fsdp_forward_method(model, "loss")
        return model

    def _batch(self) -> TensorBatch:
        assert self._part is not None
        part, self._part = self._part, None
        return part

    def _accumulate(self, batch: TensorBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """As of one process, with what was measured added up over all of them."""
        loss, reported = super()._accumulate(batch)
        values = torch.stack((loss, *reported.values())).float()
        dist.all_reduce(values)
        summed, *others = values
        return summed, dict(zip(reported, others, strict=True))

    def _clip(self) -> Tensor:
        norm = super()._clip()
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


def parts_of(batch: TensorBatch, processes: int) -> list[TensorBatch]:
    """The sequences of a batch in equal parts. Raises ValueError if they do not divide."""
    sequences = len(batch.inputs_BT)
    if reason := uneven(sequences, processes):
        raise ValueError(reason)
    return list(batch.split(sequences // processes))


def uneven(sequences: int, processes: int) -> str:
    """Why so many sequences cannot be cut for so many processes; empty if they can."""
    if processes > sequences:
        return (
            f"{processes} processes are to train a batch of {sequences} sequences; take at most "
            f"{sequences}, or a larger batch_size"
        )
    if sequences % processes:
        fitting = [count for count in range(1, sequences + 1) if sequences % count == 0]
        return (
            f"a batch of {sequences} sequences cannot be cut for {processes} processes; take "
            f"{', '.join(map(str, fitting))}, or a batch_size that {processes} divides"
        )
    return ""
