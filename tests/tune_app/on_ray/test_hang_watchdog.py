"""A process whose step hangs ends itself, whatever holds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tune_app.cluster.options import RunOptions

ROOT = Path(__file__).parents[3]
HANGS = "import ctypes; ctypes.PyDLL(None).sleep(20)"
"""In C, with the interpreter's lock held: no thread in Python can do anything about it."""


def test_a_step_that_hangs_ends_the_process_and_says_where() -> None:
    code = (
        "from tune_app.on_ray.hang_watchdog import HangWatchdog\n"
        "import time\n"
        "with HangWatchdog(0.3): print('a quick step', flush=True)\n"
        "time.sleep(0.5)\n"
        "print('between two steps nothing is limited', flush=True)\n"
        f"with HangWatchdog(0.3): {HANGS}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert "between two steps" in done.stdout
    assert "Timeout (0:00:00.3" in done.stderr
    assert 'File "<string>"' in done.stderr


def test_a_trial_that_hangs_on_its_gpu_ends_its_process() -> None:
    code = (
        "from tune_app.on_ray.trainable import CellTrainable\n"
        "import ctypes\n"
        "process = CellTrainable.__new__(CellTrainable)\n"
        "process._config = {'hang_s': 0.3}\n"
        "process._step = lambda: ctypes.PyDLL(None).sleep(20)\n"
        "process.step()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert "Timeout (0:00:00.3" in done.stderr
    assert "in step" in done.stderr


def test_the_limit_is_a_time() -> None:
    assert RunOptions().hang_minutes == 30.0
    with pytest.raises(ValueError, match="--hang-minutes is 0; it must be over 0"):
        RunOptions(hang_minutes=0)
