"""What the machine can do, its settings for training, and what of it a result depends on."""

from __future__ import annotations

import os
import platform
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from model.precisions import BF16, FP8, FP16
from model.training.gpu_errors import told_by
from model.training.precision import Precision, chosen_precision, evaluation_precision

Environment = dict[str, str | int | bool]
"""What the bits of a result depend on besides the run's settings, as plain values."""
EVALUATION = "evaluation"
"""Its field for the precision of products where the dev sample is scored."""

FP16_FROM = (7, 0)
"""Compute capability of the first GPUs with tensor cores, which multiply fp16 (Volta)."""
BF16_FROM = TF32_FROM = (8, 0)
"""The compute capability from which on an NVIDIA GPU multiplies bf16 and TF32: Ampere and newer."""
FP8_CAPABILITY = (8, 9)
"""The compute capability from which on an NVIDIA GPU multiplies FP8: Ada, Hopper and newer."""


@dataclass(frozen=True, kw_only=True)
class CompilingCosts:
    """What torch.compile takes and saves on a kind of device, in seconds."""

    seconds: float
    """Of a cold compilation, forward and backward, whatever the layers."""
    seconds_per_layer: float
    saved_per_flop: float = 0.0
    """By each FLOP of training."""
    saved_per_layer: float = 0.0
    """By each layer in each forward and backward pass, whatever the batch: its launches."""


class DeviceKind(ABC):
    """What training has to know of a kind of device: a class for each, and an entry in KINDS."""

    COMPILING: CompilingCosts | None = None
    """By which compile 'auto' decides; None where it never compiles."""
    STEPS_AHEAD = 1
    """Steps that are asked of it before the first one's loss is read, which waits for it."""
    COMPILES_BY_BLOCK = False
    """Whether one block is compiled for all layers, rather than the whole model at once; False
    where nobody measured that it is as fast."""

    @abstractmethod
    def multiplies_bf16(self, device: str) -> bool:
        """Whether it multiplies bf16 in hardware rather than through fp32."""

    def multiplies_fp16(self, device: str) -> bool:
        """Whether it multiplies fp16 faster than fp32."""
        return False

    def multiplies_tf32(self, device: str) -> bool:
        """Whether it multiplies TF32, which torch can be told to use for fp32."""
        return False

    @abstractmethod
    def name(self, device: str) -> str:
        """The name of the processor."""

    def lacks_fp8(self, device: str) -> str:
        """Why it cannot multiply FP8; empty if it can."""
        return f"{device} is none"

    def compiler(self) -> tuple[str, str]:
        """Language and command of the compiler that torch.compile needs."""
        return "C++", os.environ.get("CXX", "g++")


class Cpu(DeviceKind):
    COMPILING = CompilingCosts(seconds=12.0, seconds_per_layer=1.5, saved_per_flop=0.5e-12)
    """Measured on two cores with AVX-512 bf16 and torch 2.13: 11 layers compiled in 22 to 28 s, and
    10M parameters in 4 and 11 layers saved 0.43 and 0.57 s in 10¹² FLOPs. Faster machines both
    compile and train faster."""
    COMPILES_BY_BLOCK = True

    def multiplies_bf16(self, device: str) -> bool:
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))

    def name(self, device: str) -> str:
        name = torch.cpu.get_capabilities().get("cpu_name")
        return str(name or platform.processor() or platform.machine())


def _answer(question: Callable[[], bool], *, device: str) -> bool:
    """What torch says of a GPU; False where there is none, or torch has no CUDA: plans for GPUs are
    made there too.

    Raises AcceleratorError if the GPU is lost, and OutOfMemoryError if it has no memory to answer.
    """
    try:
        return question()
    except (AssertionError, RuntimeError) as error:
        if (told := told_by(error, device=device)) is not None:
            raise told from None
        return False


class Cuda(DeviceKind):
    COMPILING = CompilingCosts(seconds=10.0, seconds_per_layer=3.5, saved_per_layer=0.2e-3)
    """Estimated (docs/gpu.md, "When compile=auto compiles"): `make gpu-check` prints what a card
    takes and saves."""
    STEPS_AHEAD = 16

    def multiplies_bf16(self, device: str) -> bool:
        return _answer(lambda: torch.cuda.get_device_capability(device) >= BF16_FROM, device=device)

    def multiplies_fp16(self, device: str) -> bool:
        return _answer(lambda: torch.cuda.get_device_capability(device) >= FP16_FROM, device=device)

    def multiplies_tf32(self, device: str) -> bool:
        return _answer(lambda: torch.cuda.get_device_capability(device) >= TF32_FROM, device=device)

    def name(self, device: str) -> str:
        return torch.cuda.get_device_name(device)

    def lacks_fp8(self, device: str) -> str:
        capability = torch.cuda.get_device_capability(device)
        if capability >= FP8_CAPABILITY:
            return ""
        return f"{device}, {self.name(device)}, has {'.'.join(map(str, capability))}"

    def compiler(self) -> tuple[str, str]:
        """C, for Triton's launchers."""
        return "C", os.environ.get("CC", "gcc")


class Mps(DeviceKind):
    """The GPU of a Mac. Trained in fp32: its first generation has no bf16, and torch does not say
    which generation it is. Nobody measured whether compiling pays."""

    def multiplies_bf16(self, device: str) -> bool:
        return False

    def name(self, device: str) -> str:
        return f"MPS, {platform.processor() or platform.machine()}"


KINDS: Mapping[str, DeviceKind] = {"cpu": Cpu(), "cuda": Cuda(), "mps": Mps()}
"""By torch's name for the type of device."""


def kind_of(device: str) -> DeviceKind:
    """The kind of a device, `cuda:1` for example. Raises ValueError for an unknown one."""
    name = device.partition(":")[0]
    if name not in KINDS:
        raise ValueError(f"unknown device {device!r}; expected one of {', '.join(KINDS)}")
    return KINDS[name]


def bf16_is_fast(device: str) -> bool:
    """Whether the device multiplies bf16 in hardware rather than through fp32."""
    return kind_of(device).multiplies_bf16(device)


def precision_on(device: str, asked: str, *, shared: bool = False) -> Precision:
    """What `precision` means on a device, see `chosen_precision`.

    Raises ValueError for one that the device does not have in hardware, AcceleratorError if it is a
    GPU that is lost, and OutOfMemoryError for one that has no memory left to answer.
    """
    if asked == FP8 and (lack := kind_of(device).lacks_fp8(device)):
        least = ".".join(map(str, FP8_CAPABILITY))
        raise ValueError(
            f"precision is 'fp8', which needs a GPU of compute capability {least} or more (Ada, "
            f"Hopper or newer), but {lack}; use 'auto', which is bf16 where that is fast"
        )
    has = {BF16: bf16_is_fast(device), FP16: kind_of(device).multiplies_fp16(device)}
    multiplies = {name for name, fast in has.items() if fast}
    return chosen_precision(asked, device=device, multiplies=multiplies, shared=shared)


def evaluation_precision_on(device: str, training: str) -> Precision:
    """In which precision a training in `training` scores its dev sample on a device."""
    return evaluation_precision(
        training, device=device, multiplies_tf32=kind_of(device).multiplies_tf32(device)
    )


def compiler_found(device: str) -> bool:
    """Whether torch.compile has the compiler it needs: C++ on a CPU, C for Triton on a GPU."""
    return shutil.which(kind_of(device).compiler()[1]) is not None


def compiler_name(device: str) -> str:
    """The compiler that torch.compile needs on the device, for messages."""
    language, command = kind_of(device).compiler()
    return f"{language} compiler ({command})"


def environment(device: str, *, precision: str, compiled: bool) -> Environment:
    """The record of this machine and its settings: equal records mean equal bits."""
    found: Environment = {
        "machine": kind_of(device).name(device),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        EVALUATION: evaluation_precision_on(device, precision).name,
        "compiled": compiled,
        "torch": str(torch.__version__),
    }
    if precision == FP8:
        found["torchao"] = version("torchao")
    return found


def differences(saved: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """The fields that differ, each as `name: saved value → value now`."""
    names = [*saved, *(name for name in now if name not in saved)]
    return [
        f"{name}: {saved.get(name)} → {now.get(name)}"
        for name in names
        if saved.get(name) != now.get(name)
    ]


@contextmanager
def deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """If enabled, torch uses algorithms that repeat bit for bit within the block."""
    settings: Any = torch.utils.deterministic
    mode = torch.get_deterministic_debug_mode()
    fill = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(enabled)
    # All memory is written before it is read; filling it first would only cost time.
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        # Not set_deterministic_debug_mode: it does not tell Inductor.
        torch.use_deterministic_algorithms(mode > 0, warn_only=mode == 1)
        settings.fill_uninitialized_memory = fill
