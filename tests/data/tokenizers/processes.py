"""Runs a program in a process of its own, where threads and hashes are as a test wants them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def printed(program: str, *arguments: str, threads: str, hash_seed: str) -> str:
    """What a program prints.

    Args:
        program: Python source.
        threads: of the library `tokenizers`.
        hash_seed: of Python's hashes.
    """
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={
            **os.environ,
            "RAYON_NUM_THREADS": threads,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
