"""Checkpoints on their way to a server that goes away: training never waits, nothing is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from tests.tune_app.stores.servers import Sshd
from tune_app.stores.open import open_store
from tune_app.trial.checkpoint_upload import Uploads
from tune_app.trial.checkpoints import Checkpoints

FLOATS = 10_000_000


@pytest.mark.parametrize("seconds", [2.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_a_server_that_stops_in_mid_upload_gets_the_newest_state_when_it_is_back(
    sshd: Sshd, tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    store = open_store(sshd.url(str(tmp_path / "store")), connect_timeout=5, stall_timeout=5)
    store.check()
    uploads = Uploads(Checkpoints(store, cell="abc"), first_pause=0.2)
    weights = torch.zeros(FLOATS)
    uploads.begin(lambda: {"weights": weights}, tokens=1_000)
    _wait_for_bytes(tmp_path / "store" / "abc")
    sshd.stop()
    try:
        started, longest = time.monotonic(), 0.0
        step = 1_000
        while time.monotonic() - started < seconds:
            before = time.monotonic()
            step += 1
            weights[0] = step
            uploads.begin(lambda: {"weights": weights}, tokens=step)
            longest = max(longest, time.monotonic() - before)
            time.sleep(0.05)
    finally:
        sshd.start()
    assert longest < 1, "training waited for a server that is not there"
    assert uploads.wait(60)
    assert uploads.begin(lambda: {"weights": weights}, tokens=step + 1)
    assert uploads.wait(60)
    uploads.close()
    assert "training continues" in caplog.text
    assert "stored again" in caplog.text
    restored = Checkpoints(store, cell="abc").newest()
    assert restored.tokens == step + 1
    assert restored.damaged == ()
    assert restored.state is not None
    assert float(restored.state["weights"][0]) == step
    store.remove_leftovers("abc", older_than=0.0)
    assert not list((tmp_path / "store").rglob("*.tmp"))
    store.close()


def _wait_for_bytes(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while not any(path.stat().st_size for path in folder.glob("*.tmp")):
        assert time.monotonic() < deadline, "the upload did not begin"
        time.sleep(0.001)
