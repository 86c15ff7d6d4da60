"""Choosing and checking the device for training."""

from __future__ import annotations

import torch


def default_device() -> str:
    """The first GPU if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def gpu_count() -> int:
    """GPUs of this machine that torch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def checked_device(name: str) -> str:
    """The name, if torch can use that device. Raises ValueError otherwise."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); "
            "try cpu, or cuda on a machine with a GPU"
        ) from error
    return name


def use_threads(number: int) -> None:
    """Sets the CPU threads of a process. Raises ValueError below 1."""
    if number < 1:
        raise ValueError(f"{number} CPU threads; it must be at least 1")
    torch.set_num_threads(number)
