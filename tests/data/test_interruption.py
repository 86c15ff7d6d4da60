"""Work that never looks for signals does not hold an interruption up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data.interruption import interruptible


def test_what_the_work_returns_or_raises() -> None:
    assert interruptible(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)


def test_an_interruption_does_not_wait_for_the_work() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait()

    def interrupt() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        interruptible(work)
    assert not may_end.is_set()
    may_end.set()


def test_training_a_tokenizer_is_interrupted_at_once(tmp_path: Path) -> None:
    """Of words that differ, so that the training alone takes far longer than the test waits."""
    state, letters = 1, []
    for _ in range(3_000_000):
        state = state * 1_103_515_245 + 12_345 & 0x7FFFFFFF
        letters.append(97 + (state >> 16) % 26)
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.txt").write_bytes(bytes(letters) if name == "train" else b"text")
    process = subprocess.Popen(
        [sys.executable, "-m", "data.prepare", str(tmp_path), "--cache", str(tmp_path / "cache")],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("cache/*-partial/test.text")):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(2.0)  # it trains by now, or this shows less than it could
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert not list(tmp_path.glob("cache/*-partial"))
