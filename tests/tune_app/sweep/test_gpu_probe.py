"""How many cells train best on a GPU, tried with a fake device and with real processes on CPUs."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
import torch

from tests.model.training.cuda_errors import ILLEGAL_ADDRESS, OUT_OF_MEMORY, cuda_error
from tests.tune_app.sweeps import planned
from tune_app.cluster.capacity import ClusterSize, Machines
from tune_app.cluster.options import Means, RunOptions
from tune_app.cluster.packing import Packing, Together, share_of_gpu
from tune_app.plan.rows import PlannedCell
from tune_app.sweep import probed_cell
from tune_app.sweep.gpu_probe import Measure, ProbeError, best_packing, largest, measured_on
from tune_app.sweep.gpu_sharing import Sharing, shared_gpus

GIB = 2**30
PLAN = planned(expansions=(2.0, 2.66))
HERE = ClusterSize(now=(Machines(name="here", number=1, cpus=8, gpus=1),))
CPUS = ClusterSize(now=(Machines(name="here", number=1, cpus=8, gpus=0),))


class FakeGpu:
    """A GPU of a size on which cells gain by the table, and run out of memory beyond it."""

    def __init__(self, speeds: Mapping[int, float], *, peak: int = GIB) -> None:
        self.speeds, self.peak = speeds, peak
        self.tried: list[int] = []

    def __call__(self, cells: int) -> tuple[Together, int]:
        self.tried.append(cells)
        if cells not in self.speeds:
            return Together(cells=cells, out_of_memory=True), 24 * GIB
        speed = self.speeds[cells]
        return Together(cells=cells, peak_bytes=self.peak, tokens_per_second=speed), 24 * GIB


@pytest.mark.parametrize(
    ("speeds", "tried", "cells"),
    [
        ({1: 100, 2: 190, 4: 350, 8: 600}, [1, 2, 4, 8], 8),
        ({1: 100, 2: 190, 4: 195, 8: 600}, [1, 2, 4], 2),
        ({1: 100, 2: 190}, [1, 2, 4], 2),
        ({}, [1], 1),
    ],
)
def test_as_many_are_tried_as_may_be_better(
    speeds: dict[int, float], tried: list[int], cells: int
) -> None:
    gpu = FakeGpu(speeds)
    assert best_packing(gpu, processes=16).cells == cells
    assert gpu.tried == tried


def test_a_probe_that_fails_is_said_and_costs_no_sweep(caplog: pytest.LogCaptureFixture) -> None:
    gpu = FakeGpu({1: 100, 2: 190})

    def broken(cells: int) -> tuple[Together, int]:
        if cells > broken_from:
            raise ProbeError("CUDA error: no kernel image")
        return gpu(cells)

    broken_from = 1
    assert best_packing(broken, processes=8).cells == 1
    broken_from = 0
    assert "no kernel image" in best_packing(broken, processes=8).reason
    assert "4 cells" not in caplog.text and "2 cells could not be tried" in caplog.text


def decided(
    options: RunOptions, size: ClusterSize, gpu: FakeGpu | None = None, how: str = "CUDA MPS"
) -> Sharing:
    def measure(device: str, cell: Any, *, threads: int, cuda_graph: bool) -> Measure:
        assert (device, threads) == ("cuda", 1) and cell == largest(PLAN.cells)
        assert cuda_graph == options.cuda_graph
        assert gpu is not None
        return gpu

    @contextmanager
    def overlap() -> Iterator[str]:
        yield how

    means = Means.of(options, size)
    with shared_gpus(
        options, means, PLAN.cells, here=size, measure=measure, overlap=overlap
    ) as sharing:
        return sharing


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_auto_becomes_the_number_that_was_found_with_its_reason(cuda_graph: bool) -> None:
    gpu = FakeGpu({1: 100, 2: 190, 4: 195})
    sharing = decided(RunOptions(cells_per_gpu="auto", cuda_graph=cuda_graph), HERE, gpu)
    assert sharing.packing is not None
    assert sharing.options.cells_per_gpu == sharing.packing.cells == 2
    means = Means.of(sharing.options, HERE)
    assert (means.device, means.gpus, means.cells_at_once) == ("cuda", 0.5, 2)
    ((name, text),) = sharing.facts
    assert name == "GPU" and text.startswith("2 cells each: 24 GiB of memory holds ")
    assert text.endswith("less than 1.1 ×; shared by CUDA MPS")


def test_a_number_is_taken_without_a_probe() -> None:
    sharing = decided(RunOptions(cells_per_gpu=3), HERE, how="time slicing")
    assert sharing.packing == Packing(cells=3, reason="as asked; shared by time slicing")
    assert Means.of(sharing.options, HERE).gpus == share_of_gpu(3)
    assert Means.of(sharing.options, HERE).cells_at_once == 3
    assert decided(RunOptions(), HERE) == Sharing(options=RunOptions(), packing=None)


def test_without_a_gpu_auto_means_nothing_and_a_number_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        sharing = decided(RunOptions(cells_per_gpu="auto"), CPUS)
    assert sharing == Sharing(options=RunOptions(), packing=None)
    assert "--cells-per-gpu auto is ignored: there is no CUDA GPU to train on" in caplog.text
    with pytest.raises(ValueError, match="--cells-per-gpu 2 needs a CUDA GPU, and there is none"):
        Means.of(RunOptions(cells_per_gpu=2), CPUS)


def small_cell() -> PlannedCell:
    """A cell that takes its steps in no time."""
    sizes = {"target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32}
    cell = largest(planned(expansions=(2.66,), batch_size=4, **sizes).cells)
    assert cell is not None
    return cell


def test_processes_train_side_by_side_and_are_gone_afterwards() -> None:
    """Real ones, on the CPU in place of a GPU."""
    measure = measured_on("cpu", small_cell(), threads=1, cuda_graph=False, seconds=0.2)
    together, memory = measure(2)
    assert together.cells == 2 and not together.out_of_memory
    assert together.tokens_per_second > 0
    assert 0 < together.peak_bytes < memory


def test_a_process_that_fails_says_why() -> None:
    cell = largest(PLAN.cells)
    assert cell is not None
    with pytest.raises(ProbeError, match="ValueError: unknown device 'no-such-device'"):
        measured_on("no-such-device", cell, threads=1, cuda_graph=False)(1)


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_the_peak_is_of_steps_as_cells_take_them_and_of_an_evaluation_beside(
    cuda_graph: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    did: list[str] = []

    class Recorder:
        def __init__(self, device: str) -> None:
            assert device == "cpu"

        def apart(self) -> AbstractContextManager[None]:
            return nullcontext()

        def record(self, work: Callable[[], None]) -> Callable[[], None]:
            work()
            did.append("recorded")
            return lambda: did.append("started")

    scored, peak = probed_cell.nats_by_token, probed_cell.allocated_at_most

    def score(model: Any, batches: Any) -> Any:
        did.append("scored")
        return scored(model, batches)

    def look(device: str) -> int:
        did.append("peak")
        return peak(device)

    monkeypatch.setattr("tune_app.sweep.estimate.CudaRecorder", Recorder)
    monkeypatch.setattr(probed_cell, "nats_by_token", score)
    monkeypatch.setattr(probed_cell, "allocated_at_most", look)
    monkeypatch.setattr("sys.stdin", io.StringIO("train\n"))
    cell = small_cell()
    assert cell.solved is not None
    probed_cell.answer(
        {
            "values": dict(cell.values),
            "solved": cell.solved.values(),
            "device": "cpu",
            "threads": 1,
            "seconds": 0.01,
            "cuda_graph": cuda_graph,
        }
    )
    ready, trained = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert ready[probed_cell.PEAK] > 0 and trained[probed_cell.TOKENS] > 0
    before = did[: did.index("peak")]
    assert before == (["recorded", "started", "scored"] if cuda_graph else ["scored"])
    assert ("started" in did[len(before) :]) == cuda_graph, "what is timed, too"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (cuda_error(OUT_OF_MEMORY), True),
        (cuda_error(ILLEGAL_ADDRESS), False),
        (RuntimeError("shapes do not fit"), False),
    ],
    ids=["of the allocator", "of the driver", "lost", "code"],
)
def test_only_a_lack_of_memory_is_said_to_be_one(
    error: Exception,
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(question: Any) -> None:
        raise error

    monkeypatch.setattr(probed_cell, "answer", fail)
    monkeypatch.setattr("sys.stdin", io.StringIO('{"device": "cpu"}\n'))
    with nullcontext() if said else pytest.raises(type(error)):
        probed_cell.main()
    assert capsys.readouterr().out == ('{"out_of_memory": true}\n' if said else "")
