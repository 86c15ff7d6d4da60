"""Errors as torch's CUDA build raises them: with the code that the driver gave."""

from __future__ import annotations

import torch

OUT_OF_MEMORY, ILLEGAL_ADDRESS, WHILE_RECORDING, RECORDING_FAILED = 2, 700, 900, 901

_WORDS = {
    OUT_OF_MEMORY: "out of memory",
    ILLEGAL_ADDRESS: "an illegal memory access was encountered",
    WHILE_RECORDING: "operation not permitted when stream is capturing",
    RECORDING_FAILED: "operation failed due to a previous error during capture",
}


def cuda_error(code: int) -> torch.AcceleratorError:
    """The error of a code."""
    error = torch.AcceleratorError(f"CUDA error: {_WORDS[code]}")
    error.error_code = code  # type: ignore[attr-defined]
    return error
