"""Which devices this machine can train on, and the choice among them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

AUTO = "auto"
"""The first GPU if there is one, else the CPU."""
VISIBLE = "CUDA_VISIBLE_DEVICES"

_DRIVER = Path("/proc/driver/nvidia/version")
"""There is one if the system has loaded NVIDIA's driver."""

logger = logging.getLogger(__name__)


def mps_available() -> bool:
    """Whether this is a Mac with a GPU that torch can use."""
    return torch.backends.mps.is_available()


def gpu_count() -> int:
    """NVIDIA GPUs of this machine that torch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_model(device: str) -> str:
    """The model of the GPU that a device is, as the driver names it; empty for others."""
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return ""
    return torch.cuda.get_device_name(device)


def available_devices() -> tuple[str, ...]:
    """Names of the devices of this machine, the CPU first: cpu, cuda, cuda:0, …, mps."""
    gpus = tuple(f"cuda:{number}" for number in range(gpu_count()))
    return ("cpu", *(("cuda", *gpus) if gpus else ()), *(("mps",) if mps_available() else ()))


def default_device() -> str:
    """The first GPU if there is one, else the CPU."""
    return next(name for name in ("cuda", "mps", "cpu") if name in available_devices())


def peak_memory(device: str, *, status: Path = Path("/proc/self/status")) -> float | None:
    """Most bytes that this process has taken so far: on a GPU those of its tensors there, else all
    that it had in memory; None where the system does not say.

    status: a file like /proc/self/status. What getrusage says is no less than its parent had.
    """
    if device.startswith("cuda"):
        return float(torch.cuda.max_memory_allocated(device))
    try:
        lines = status.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return None
    found = [line.split() for line in lines if line.startswith("VmHWM:")]
    return float(found[0][1]) * 1024 if found and len(found[0]) == 3 else None


def allocated_at_most(device: str) -> int:
    """Most bytes that torch's allocator has held on a device, what it keeps for later included; on
    a CPU those of the whole process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_reserved(device)
    return int(peak_memory(device) or 0)


def device_memory(device: str) -> int:
    """Bytes of memory of a GPU, or of the machine."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_memory(device: str) -> int:
    """Bytes of a GPU that nobody uses, or that this process keeps for later."""
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + kept)


def memory_share(device: str) -> float:
    """The share of a GPU's memory that this process may allocate: see `limit_memory`."""
    return torch.cuda.get_per_process_memory_fraction(device)


def limit_memory(device: str, share: float) -> None:
    """Lets this process allocate no more than a share of a GPU's memory.

    Beyond it torch raises OutOfMemoryError, in this process alone.
    """
    # Without a number it is the current GPU, which torch does not take by name here.
    torch.cuda.set_per_process_memory_fraction(share, torch.device(device).index)


def checked_device(name: str) -> str:
    """The device that a name means on this machine; `auto` is the default one.

    Raises ValueError, in one sentence, if there is no such device here.
    """
    if name == AUTO:
        found = default_device()
        if found == "cpu" and (why := why_no_gpu()):
            logger.warning("training is on the CPU, although this machine has a GPU: %s", why)
        return found
    known = available_devices()
    if name not in known:
        why = why_no_gpu() if name.startswith("cuda") else ""
        raise ValueError(
            f"device {name!r} is not available on this machine; "
            f"choose {' or '.join((AUTO, *known))}{why and f'. {why}'}"
        )
    return name


def why_no_gpu(driver: Path = _DRIVER) -> str:
    """Why torch cannot use this machine's NVIDIA GPU, and the remedy.

    Empty if it can, and without a driver.

    driver: the file that the driver makes.
    """
    if torch.cuda.is_available() or not driver.exists():
        return ""
    if os.environ.get(VISIBLE) in ("", "-1"):
        return f"{VISIBLE} hides its GPUs: unset it"
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} was built without CUDA: install the build for CUDA, as "
            "pytorch.org says"
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        return (
            f"torch {torch.__version__} is for CUDA {torch.version.cuda}, and says: {reason}. "
            "Update the driver, rent a host with a newer one, or install torch for an older CUDA"
        )
    return ""


def visible_gpu(device: str) -> str | None:
    """The value of CUDA_VISIBLE_DEVICES for processes that use one GPU, `cuda:1` for example.

    None for a device without a number. The numbers are of the GPUs that this process sees.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda" or not number:
        return None
    visible = os.environ.get(VISIBLE, "").split(",")
    return visible[int(number)].strip() if any(visible) else number


def use_threads(number: int) -> None:
    """Sets the CPU threads of a process. Raises ValueError below 1."""
    if number < 1:
        raise ValueError(f"{number} CPU threads; it must be at least 1")
    torch.set_num_threads(number)
