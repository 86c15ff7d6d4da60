"""Devices of a machine: found, chosen, and refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tune_app.cluster.capacity import ClusterSize, Machines
from tune_app.cluster.options import Means, RunOptions
from tune_app.devices import (
    available_devices,
    checked_device,
    default_device,
    visible_gpu,
    why_no_gpu,
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with neither GPU, until a test adds one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return monkeypatch


def add_gpus(machine: pytest.MonkeyPatch, number: int) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "device_count", lambda: number)


def test_a_machine_without_a_gpu_trains_on_its_cpu(machine: pytest.MonkeyPatch) -> None:
    assert available_devices() == ("cpu",)
    assert default_device() == checked_device("auto") == "cpu"


def test_a_mac_trains_on_its_gpu(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.backends.mps, "is_available", lambda: True)
    assert available_devices() == ("cpu", "mps")
    assert default_device() == checked_device("mps") == "mps"


def test_gpus_have_numbers(machine: pytest.MonkeyPatch) -> None:
    add_gpus(machine, 2)
    assert default_device() == "cuda"
    assert checked_device("cuda:1") == "cuda:1"
    with pytest.raises(ValueError, match=r"'cuda:2' is not .*; choose auto or cpu or cuda or cuda"):
        checked_device("cuda:2")


@pytest.mark.parametrize("name", ["foo", "cuda", "mps", "cuda:0", "cpu:1", "meta", ""])
def test_what_the_machine_lacks_is_refused_in_a_sentence(
    name: str, machine: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError) as refused:
        checked_device(name)
    assert str(refused.value) == (
        f"device {name!r} is not available on this machine; choose auto or cpu"
    )


@pytest.fixture
def driver(machine: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine with NVIDIA's driver and a torch for CUDA, which cannot use the GPU."""
    loaded = tmp_path / "version"
    loaded.touch()
    machine.setattr("tune_app.devices.why_no_gpu", lambda: why_no_gpu(loaded))
    machine.setattr(torch.version, "cuda", "13.0")
    machine.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return machine


def test_a_driver_that_is_too_old_is_named_with_its_remedy(
    driver: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError(
            "The NVIDIA driver on your system is too old (found version 11040). Please update …"
        )

    driver.setattr(torch.cuda, "init", fail)
    with pytest.raises(ValueError, match=r"for CUDA 13.0, and says: .* too old \(found .* Update"):
        checked_device("cuda")
    assert checked_device("auto") == "cpu"
    assert "training is on the CPU, although this machine has a GPU" in caplog.text


def test_hidden_gpus_and_a_torch_without_cuda_are_named(driver: pytest.MonkeyPatch) -> None:
    driver.setattr(torch.version, "cuda", None)
    with pytest.raises(ValueError, match="was built without CUDA: install the build for CUDA"):
        checked_device("cuda:0")
    driver.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES hides its GPUs: unset it"):
        checked_device("cuda:0")


def test_one_of_several_gpus_is_one_that_the_process_sees(machine: pytest.MonkeyPatch) -> None:
    machine.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (visible_gpu("cuda"), visible_gpu("cpu"), visible_gpu("cuda:1")) == (None, None, "1")
    machine.setenv("CUDA_VISIBLE_DEVICES", "GPU-ab, GPU-cd")
    assert visible_gpu("cuda:1") == "GPU-cd"


def test_a_process_with_a_share_of_a_gpu_keeps_to_its_share_of_the_memory(
    machine: pytest.MonkeyPatch,
) -> None:
    from types import SimpleNamespace

    from tune_app.on_ray.trainable import CellTrainable

    limits = []
    gpu = SimpleNamespace(total_memory=24 * 2**30)
    machine.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    machine.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda *asked: limits.append(asked)
    )
    trainable = CellTrainable.__new__(CellTrainable)
    for device, gpus in (("cuda", 0.25), ("cuda", 1.0), ("cuda", 2.0), ("cpu", 0.25)):
        trainable._config = {"device": device}
        trainable._keep_to_share(gpus)
    ((share, device),) = limits
    assert device is None, "the current GPU, which is the one that Ray gave"
    assert 0.2 < share < 0.25


MAC = ClusterSize(now=(Machines(name="mac", number=1, cpus=8, gpus=0),), mps=True)
GPUS = ClusterSize(now=(Machines(name="two", number=1, cpus=8, gpus=2),))


@pytest.mark.parametrize(
    ("asked", "size", "means"),
    [
        ({}, MAC, ("mps", 0.0, 1)),
        ({"cells_at_once": 2}, MAC, ("mps", 0.0, 2)),
        ({"device": "cpu"}, MAC, ("cpu", 0.0, 8)),
        ({"gpus": 0}, MAC, ("cpu", 0.0, 8)),
        ({}, GPUS, ("cuda", 1.0, 2)),
        ({"device": "cpu"}, GPUS, ("cpu", 0.0, 8)),
        ({"device": "cuda", "gpus": 0.5}, GPUS, ("cuda", 0.5, 4)),
        ({"device": "cuda:1"}, GPUS, ("cuda", 1.0, 2)),
    ],
)
def test_the_device_decides_about_gpus_and_cells(
    asked: dict[str, object], size: ClusterSize, means: tuple[str, float, int]
) -> None:
    got = Means.of(RunOptions(**asked), size)  # type: ignore[arg-type]
    assert (got.device, got.gpus, got.cells_at_once) == means


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"device": "cpu", "gpus": 1.0}, "--device cpu and --gpus 1 contradict each other"),
        ({"device": "cuda", "gpus": 0.0}, "--device cuda and --gpus 0 contradict each other"),
        ({"device": "mps", "address": "auto"}, "with --address choose auto or cpu or cuda"),
    ],
)
def test_contradictions_are_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunOptions(**asked)  # type: ignore[arg-type]
