"""What an error says of the GPU rather than of the code: that it is lost, or out of memory.

After a wrong memory access, an error of its memory or a fall from the bus, a GPU answers every
later call of the process with the same error: the process has to end. torch raises AcceleratorError
for that, for refusals of a single call and for a lack of memory outside its allocator alike;
libraries that call the driver themselves, such as Triton and cuBLAS, raise a RuntimeError of their
own; and torch.compile wraps them all.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

_OUT_OF_MEMORY = 2
_REFUSALS = frozenset({1, 801, *range(900, 909)})
"""Codes of CUDA for an invalid argument, for what is not supported, and for what has no place in a
recording: another call goes well. Source: NVIDIA, "CUDA Runtime API", cudaError_t."""


def told_by(
    error: BaseException, *, device: str
) -> torch.AcceleratorError | torch.OutOfMemoryError | None:
    """AcceleratorError if the GPU is lost, OutOfMemoryError if its memory ran out, else None.

    Args:
        error: that ended work on the device. What it wraps, and what it was raised in the midst
            of, count as well.
        device: of the work. A GPU of which the error says nothing is asked whether it answers.
    """
    errors = list(_behind(error))
    for one in errors:
        if isinstance(one, torch.AcceleratorError) and _is_loss(one):
            return one
    if torch.device(device).type == "cuda" and isinstance(error, RuntimeError):
        try:
            torch.cuda.synchronize(device)
        except RuntimeError as answer:  # a plain one where CUDA was never there
            if isinstance(answer, torch.AcceleratorError) and _is_loss(answer):
                return answer
    for one in errors:
        if isinstance(one, torch.OutOfMemoryError):
            return one
        if isinstance(one, torch.AcceleratorError) and _code(one) == _OUT_OF_MEMORY:
            return torch.OutOfMemoryError(str(one))
    return None


def _is_loss(error: torch.AcceleratorError) -> bool:
    return _code(error) not in {_OUT_OF_MEMORY, *_REFUSALS}


def _code(error: torch.AcceleratorError) -> int | None:
    """CUDA's; None where torch does not say."""
    return getattr(error, "error_code", None)


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it wraps or was raised in the midst of."""
    seen: set[int] = set()
    left = [error]
    while left:
        one = left.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (getattr(one, "inner_exception", None), one.__cause__, one.__context__)
        left += [other for other in inner if isinstance(other, BaseException)]
