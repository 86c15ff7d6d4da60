"""What the machine can do, its settings for training, and what of it a result depends on."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

Environment = dict[str, str | int | bool]
"""What the bits of a result depend on besides the run's settings, as plain values."""


def bf16_is_fast(device: str) -> bool:
    """Whether the device multiplies bf16 in hardware rather than through fp32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def compiler_found(device: str) -> bool:
    """Whether torch.compile has the compiler it needs: C++ on a CPU, C for Triton on a GPU."""
    return shutil.which(_compiler(device)[1]) is not None


def compiler_name(device: str) -> str:
    """The compiler that torch.compile needs on the device, for messages."""
    language, command = _compiler(device)
    return f"{language} compiler ({command})"


def environment(device: str, *, precision: str, compiled: bool) -> Environment:
    """The record of this machine and its settings: equal records mean equal bits."""
    on_gpu = torch.device(device).type == "cuda"
    return {
        "machine": torch.cuda.get_device_name(device) if on_gpu else _cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "compiled": compiled,
        "torch": str(torch.__version__),
    }


def differences(saved: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """The fields that differ, each as `name: saved value → value now`."""
    names = [*saved, *(name for name in now if name not in saved)]
    return [
        f"{name}: {saved.get(name)} → {now.get(name)}"
        for name in names
        if saved.get(name) != now.get(name)
    ]


def keep_freed_memory() -> None:
    """Makes glibc's malloc keep freed memory for the rest of the process; elsewhere does nothing.

    Activations are freed and allocated again in every step. If their pages are returned to the
    system, each costs a page fault when it is touched again.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of <malloc.h>
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(mmap_max, 0)


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
        torch.set_deterministic_debug_mode(mode)
        settings.fill_uninitialized_memory = fill


def _compiler(device: str) -> tuple[str, str]:
    """Language and command."""
    if torch.device(device).type == "cuda":
        return "C", os.environ.get("CC", "gcc")
    return "C++", os.environ.get("CXX", "g++")


def _cpu_name() -> str:
    name = torch.cpu.get_capabilities().get("cpu_name")
    return str(name or platform.processor() or platform.machine())
