"""What options of a run come to on the machines there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tune_app.cluster.capacity import ClusterSize, Machines
from tune_app.cluster.options import Means, RunOptions
from tune_app.machine_limits import usable_cpus
from tune_app.sweep.checks import this_machine


def size(*, cpus: float, gpus: float = 0) -> ClusterSize:
    return ClusterSize(now=(Machines(name="here", number=1, cpus=cpus, gpus=gpus),))


@pytest.mark.parametrize(
    ("asked", "cpus", "gpus", "means"),
    [
        ({}, 4, 0, (4, 1, 0.0)),
        ({"cpus": 3}, 4, 0, (1, 3, 0.0)),
        ({"cpus": 8}, 4, 0, (1, 8, 0.0)),
        ({}, 8, 2, (2, 1, 1.0)),
        ({"gpus": 0.25}, 16, 1, (4, 1, 0.25)),
        ({"gpus": 0.25, "cpus": 8}, 16, 1, (2, 8, 0.25)),
        ({"gpus": 0}, 8, 2, (8, 1, 0.0)),
        ({"cells_at_once": 7, "gpus": 1}, 2, 0, (7, 1, 1.0)),
        ({"cells_per_gpu": 4}, 16, 2, (8, 1, 0.25)),
        ({"cells_per_gpu": 4, "cpus": 8}, 16, 2, (2, 8, 0.25)),
        ({"cells_per_gpu": 1}, 8, 2, (2, 1, 1.0)),
        ({"cells_per_gpu": "auto"}, 8, 2, (2, 1, 1.0)),
        ({"cells_per_gpu": "auto"}, 8, 0, (8, 1, 0.0)),
    ],
)
def test_means_follow_from_options_and_machines(
    asked: dict[str, Any], cpus: float, gpus: float, means: tuple[int, int, float]
) -> None:
    got = Means.of(RunOptions(**asked), size(cpus=cpus, gpus=gpus))
    assert (got.cells_at_once, got.cpus, got.gpus) == means


def test_cuda_graphs_need_a_gpu() -> None:
    assert Means.of(RunOptions(cuda_graph=True), size(cpus=8, gpus=1)).device == "cuda"
    with pytest.raises(ValueError, match="--cuda-graph needs a CUDA GPU, and there is none"):
        Means.of(RunOptions(cuda_graph=True), size(cpus=8))


def test_this_machine_offers_the_cpus_that_it_may_use() -> None:
    assert this_machine().cells_at_once(cpus=1, gpus=0) == usable_cpus()


def test_results_may_be_in_the_home_folder() -> None:
    """A shell expands `--results ~/runs` and not `--results=~/runs`."""
    assert RunOptions(results=Path("~/runs")).results == Path.home() / "runs"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cells_at_once": 0}, "0 cells at once"),
        ({"cpus": 0}, "0 CPUs per cell"),
        ({"gpus": -0.5}, "-0.5 GPUs per cell"),
        ({"cells_per_gpu": 0}, "0 cells per GPU; it must be from 1 to 48"),
        ({"cells_per_gpu": 49}, "49 cells per GPU; it must be from 1 to 48"),
        ({"cells_per_gpu": 2, "gpus": 0.5}, "--cells-per-gpu 2 and --gpus 0.5 both say"),
        ({"cells_per_gpu": 2, "device": "cpu"}, "is for CUDA, and --device cpu is not"),
        ({"cells_per_gpu": "auto", "address": "auto"}, "measures this machine's GPU"),
        ({"cuda_graph": True, "device": "cpu"}, "--cuda-graph is for CUDA, and --device cpu is"),
    ],
)
def test_what_no_machine_can_give_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunOptions(**asked)
