"""What `DeviceOps` says to operations that have no place in a step, on a fake GPU.

    python -m tests.gpu.fake_cuda tests.gpu.refusals

prints a JSON object of what was refused; null where nothing was.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from torch import Tensor

from tests.gpu.device_ops import DeviceOps, RefusedError
from tests.gpu.fake_cuda import DEVICE, fake_cuda

ATTEMPTS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "item": lambda gpu, host: gpu.sum().item(),
    "if": lambda gpu, host: bool(gpu.sum() > 0),
    "nonzero": lambda gpu, host: gpu.nonzero(),
    "mask": lambda gpu, host: gpu[gpu > 0],
    "repeats": lambda gpu, host: gpu.repeat_interleave(gpu.long(), dim=0),
    "to host": lambda gpu, host: gpu.cpu(),
    "to device": lambda gpu, host: host.to(DEVICE),
    "new number": lambda gpu, host: torch.tensor(1.0, device=DEVICE),
    "host index": lambda gpu, host: gpu[host.long()],
    "cumsum": lambda gpu, host: gpu.cumsum(0),
    # What a step may do.
    "to device without waiting": lambda gpu, host: host.to(DEVICE, non_blocking=True),
    "cumsum of whole numbers": lambda gpu, host: gpu.long().cumsum(0),
    "index": lambda gpu, host: gpu[gpu.long()],
    "a number": lambda gpu, host: gpu * 2.0,
    "repeats by a number": lambda gpu, host: gpu.repeat_interleave(2, dim=0),
}


def refused(attempt: Callable[[Tensor, Tensor], object]) -> str | None:
    """What is said to an attempt with a vector on the GPU and one on the host."""
    with fake_cuda():
        gpu, host = torch.ones(3, device=DEVICE), torch.ones(3)
        try:
            with DeviceOps():
                attempt(gpu, host)
        except RefusedError as error:
            return str(error)
    return None


if __name__ == "__main__":
    print(json.dumps({name: refused(attempt) for name, attempt in ATTEMPTS.items()}))  # noqa: T201
