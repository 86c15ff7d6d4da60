"""A GPU that is lost or full is told from code that is wrong: with a made-up CUDA, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model.training.gpu_errors import told_by
from model.training.step_graph import CudaRecorder
from tests.model.training.cuda_errors import (
    ILLEGAL_ADDRESS,
    OUT_OF_MEMORY,
    RECORDING_FAILED,
    WHILE_RECORDING,
    cuda_error,
)

TRITON = "Triton Error [CUDA]: an illegal memory access was encountered"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A GPU that answers, unless `lost` is set."""
    made = SimpleNamespace(lost=False)

    def synchronize(device: object = None) -> None:
        if made.lost:
            raise cuda_error(ILLEGAL_ADDRESS)

    @contextmanager
    def recording(graph: Any, stream: Any) -> Iterator[None]:
        synchronize()  # as torch.cuda.graph does before it begins
        try:
            yield
        except RuntimeError:
            raise cuda_error(RECORDING_FAILED)  # noqa: B904 - as in the end of torch.cuda.graph

    monkeypatch.setattr("torch.cuda.synchronize", synchronize)
    monkeypatch.setattr("torch.cuda.Stream", lambda device: None)
    monkeypatch.setattr("torch.cuda.CUDAGraph", lambda: SimpleNamespace(replay=None))
    monkeypatch.setattr("torch.cuda.graph", recording)
    monkeypatch.setattr("torch.cuda.device", lambda device: nullcontext())
    return made


def raising(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def record(work: Callable[[], None]) -> None:
    CudaRecorder("cuda:0").record(work)


def test_a_gpu_lost_in_a_recording_is_no_failure_of_the_code(gpu: SimpleNamespace) -> None:
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        record(raising(cuda_error(ILLEGAL_ADDRESS)))


def test_a_gpu_lost_before_the_recording_is_found_when_it_begins(gpu: SimpleNamespace) -> None:
    gpu.lost = True
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        record(lambda: None)


def test_a_library_that_says_it_in_its_own_words_is_believed_if_the_gpu_does_not_answer(
    gpu: SimpleNamespace,
) -> None:
    def work() -> None:
        gpu.lost = True
        raise RuntimeError(TRITON)

    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        record(work)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not fit"), cuda_error(WHILE_RECORDING)], ids=["code", "wait"]
)
def test_what_cannot_be_recorded_is_still_said_so(gpu: SimpleNamespace, error: Exception) -> None:
    with pytest.raises(RuntimeError, match="could not be recorded as a CUDA graph") as caught:
        record(raising(error))
    assert str(error) in str(caught.value) and type(caught.value) is RuntimeError


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), cuda_error(OUT_OF_MEMORY)],
    ids=["of the allocator", "of the driver"],
)
def test_out_of_memory_stays_what_it_is(gpu: SimpleNamespace, error: Exception) -> None:
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        record(raising(error))


def test_a_cpu_is_not_asked_and_a_user_s_mistake_is_none_of_a_gpu(gpu: SimpleNamespace) -> None:
    gpu.lost = True
    assert told_by(RuntimeError(TRITON), device="cpu") is None
    assert told_by(ValueError("a batch of 3 sequences"), device="cuda") is None


def test_where_cuda_was_never_there_no_gpu_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "torch.cuda.synchronize", lambda device: raising(RuntimeError("No CUDA GPUs"))()
    )
    assert told_by(RuntimeError("No CUDA GPUs are available"), device="cuda") is None


def test_what_an_error_wraps_counts_and_circles_end() -> None:
    lost = cuda_error(ILLEGAL_ADDRESS)
    wrapped = RuntimeError("backend='inductor' raised")
    wrapped.inner_exception = lost  # type: ignore[attr-defined]
    lost.__context__ = wrapped
    assert told_by(wrapped, device="cpu") is lost
