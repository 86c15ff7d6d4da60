"""A training step recorded once and then started as a whole: on CUDA, as one CUDA graph.

The host asks a GPU for each kernel apart, which for a small model takes longer than the kernels do.
A graph is asked for once. It does the same things to the same memory each time, so all that differs
from step to step is in tensors that stay where they are: the batch and the learning rates are
copied into those that were there when the step was recorded; weights, moments, the scale of the
loss and the share of training that is done change in place. What is measured is copied out.

The rules are those of torch's notes on CUDA semantics, "Whole-network capture".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from model.network.batch import TensorBatch, on_device
from model.training.gpu_errors import told_by
from model.training.muon import Optimizer
from model.training.optimizers import learning_rates, rates_from

WARM_UP = 2
"""Steps of each shape that are trained one kernel at a time before one is recorded: moments,
libraries and compiled code have to be there."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a step measured, on its device."""

    names: tuple[str, ...]
    """Of the values, without the loss."""
    values: Tensor
    """The loss, then what has these names."""


Compute = Callable[[TensorBatch], Measured]


class Recorder(Protocol):
    """Records what is asked of a device."""

    def apart(self) -> AbstractContextManager[None]:
        """Around work that is done now, before and between recordings."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Records work, without doing it; returns what does it."""


class CudaRecorder:
    """Records CUDA graphs.

    The steps before are on the stream of the recording too: torch's backward pass may come back to
    the stream of an earlier one, and libraries have a handle for each.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextmanager
    def apart(self) -> Iterator[None]:
        """On a stream of its own, which waits for the current one and is waited for."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Raises RuntimeError for work that cannot be recorded, OutOfMemoryError, and
        AcceleratorError if the GPU is lost."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph, stream=self._stream):
                work()
        except RuntimeError as error:
            if (told := told_by(error, device=str(self._device))) is not None:
                raise told from None
            # What ended the recording is behind the error that ending it raised.
            first = error
            while isinstance(first.__context__, RuntimeError):
                first = first.__context__
            raise RuntimeError(
                f"the step could not be recorded as a CUDA graph ({first}); train without "
                "--cuda-graph"
            ) from error
        return graph.replay


def require_graphs(device: str, *, processes: int = 1) -> None:
    """Raises ValueError for a training whose steps cannot be CUDA graphs.

    processes: that train the model together.
    """
    if torch.device(device).type != "cuda":
        raise ValueError(
            f"--cuda-graph is for CUDA, and the device is {device}; leave it out, or train on a GPU"
        )
    if processes > 1:
        raise ValueError(
            f"{processes} processes are to train the model; --cuda-graph is for one: leave it out"
        )


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """A step that can be started."""

    batch: TensorBatch
    rates_G: Tensor
    measured: Measured
    start: Callable[[], None]


class StepGraph:
    """The steps of a training, recorded once for each shape of batch that comes.

    Args:
        optimizer: of the training; its groups' learning rates are set before each step.
        device: of the training.
        recorder: of that device.
    """

    def __init__(self, optimizer: Optimizer, *, device: str, recorder: Recorder) -> None:
        self._optimizer = optimizer
        self._device = device
        self._recorder = recorder
        self.inputs: tuple[Tensor, ...] = ()
        """What a recorded step reads besides the state of the training."""
        self.forget()

    def forget(self) -> None:
        """Drops what is recorded: the state is in other memory now, or batches have another
        shape."""
        self._shape: tuple[Any, ...] = ()
        self._trained = 0
        """Steps of this shape that ran one kernel at a time."""
        self._recorded: _Recorded | None = None
        self.inputs = ()

    def apart(self) -> AbstractContextManager[None]:
        """Around work of the training that is not recorded."""
        return self._recorder.apart()

    def step(self, batch: TensorBatch, compute: Compute) -> Measured:
        """What `compute` measures for a batch; it is called until a step is recorded.

        A batch of which a part is not scored is never recorded: how many are is a number of the
        host, by which losses are divided.
        """
        if batch.mask_BT is not None:
            with self.apart():
                return compute(batch)
        if self._shape != (shape := _shape_of(batch)):
            self.forget()
            self._shape = shape
        if self._trained < WARM_UP:
            self._trained += 1
            with self.apart():
                return compute(batch)
        rates_G = on_device(learning_rates(self._optimizer), self._device)
        if self._recorded is None:
            self._recorded = self._record(batch, rates_G, compute)
        recorded = self._recorded
        _copy(batch, to=recorded.batch)
        recorded.rates_G.copy_(rates_G)
        recorded.start()
        return Measured(names=recorded.measured.names, values=recorded.measured.values.clone())

    def _record(self, batch: TensorBatch, rates_G: Tensor, compute: Compute) -> _Recorded:
        found: list[Measured] = []
        self.inputs = (batch.inputs_BT, batch.targets_BT, *batch.extras.values(), rates_G)
        with rates_from(self._optimizer, rates_G):
            start = self._recorder.record(lambda: found.append(compute(batch)))
        return _Recorded(batch=batch, rates_G=rates_G, measured=found[0], start=start)


def _shape_of(batch: TensorBatch) -> tuple[Any, ...]:
    extras = ((name, one.shape, one.dtype) for name, one in sorted(batch.extras.items()))
    return (batch.inputs_BT.shape, *extras)


def _copy(batch: TensorBatch, *, to: TensorBatch) -> None:
    if batch is to:
        return
    to.inputs_BT.copy_(batch.inputs_BT)
    to.targets_BT.copy_(batch.targets_BT)
    for name, values in batch.extras.items():
        to.extras[name].copy_(values)
