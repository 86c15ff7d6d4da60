"""CUDA's Multi-Process Service: kernels of several processes run on a GPU at the same time.

Without it the driver gives each process the whole GPU for a slice of time, so that small kernels of
several cells never overlap. The service is a daemon that any user may start (NVIDIA, "Multi-Process
Service"); a container may forbid it. It does not isolate a fault of the hardware or a wrong memory
access: that ends all processes on the GPU, and their cells continue from their checkpoints. Running
out of memory is no such fault.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PROGRAM = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
USUAL_PIPES = Path("/tmp/nvidia-mps")
"""Where the daemon is found if PIPES is not set."""

_SECONDS = 60.0
"""For the daemon to answer, and for a process to reach a GPU through it."""
_TRIAL = "import torch; torch.zeros(1, device='cuda').add_(1).item()"

logger = logging.getLogger(__name__)


@contextmanager
def overlapping(*, usual_pipes: Path = USUAL_PIPES, trial: str = _TRIAL) -> Iterator[str]:
    """Processes that start inside the block overlap on a GPU if the service can run; gives how they
    share it, in words.

    A service that runs already is used and left alone; one that is started here ends with the
    block.

    trial: Python code that fails where a GPU cannot be reached through the service.
    """
    if PIPES in os.environ or (usual_pipes / "control").exists():
        yield "CUDA MPS, which runs already"
        return
    if shutil.which(PROGRAM) is None:
        yield f"time slicing, as there is no {PROGRAM} here: kernels of two cells never overlap"
        return
    with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
        places = {PIPES: folder, LOGS: folder}
        lack = _start(places, trial)
        if lack:
            yield f"time slicing, as CUDA MPS cannot be used here ({lack})"
            return
        before = {name: os.environ.get(name) for name in places}
        os.environ.update(places)
        try:
            yield "CUDA MPS"
        finally:
            for name, value in before.items():
                del os.environ[name]
                if value is not None:
                    os.environ[name] = value
            _quit(places)


def _start(places: Mapping[str, str], trial: str) -> str:
    """Starts the daemon; says why it is of no use and ends it, or nothing."""
    if lack := _failure([PROGRAM, "-d"], places):
        return lack
    if lack := _failure([sys.executable, "-c", trial], places):
        _quit(places)
        return f"no process reaches a GPU through it: {lack}"
    return ""


def _failure(command: list[str], places: Mapping[str, str]) -> str:
    """The last line that a command said before it failed; empty if it succeeded."""
    try:
        ended = subprocess.run(
            command,
            env={**os.environ, **places},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if ended.returncode == 0:
        return ""
    said = f"{ended.stdout}\n{ended.stderr}".strip().splitlines()
    return said[-1] if said else f"exit code {ended.returncode}"


def _quit(places: Mapping[str, str]) -> None:
    try:
        subprocess.run(
            [PROGRAM],
            env={**os.environ, **places},
            input="quit\n",
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("CUDA MPS may still run: `echo quit | %s` failed: %s", PROGRAM, error)
