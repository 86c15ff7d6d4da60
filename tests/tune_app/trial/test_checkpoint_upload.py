"""Uploads: training waits for a copy in memory and for nothing else."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from tune_app.stores.base import StoreUnreachableError
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoint_upload import Uploads, snapshot
from tune_app.trial.checkpoints import Checkpoints


class SlowCheckpoints(Checkpoints):
    """Saves when it is let; fails as often as it is told to."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.may_go = threading.Event()
        self.begun = threading.Event()
        self.saved: list[tuple[int, float]] = []

    def save(
        self,
        state: Mapping[str, Any],
        *,
        tokens: int,
        bits_per_byte: float | None = None,
        last: bool = False,
    ) -> None:
        self.begun.set()
        assert self.may_go.wait(10)
        if self.failures:
            self.failures -= 1
            raise StoreUnreachableError("sftp://host: no answer")
        self.saved.append((tokens, float(state["weights"][0])))


def test_training_may_change_its_weights_at_once() -> None:
    checkpoints = SlowCheckpoints()
    uploads = Uploads(checkpoints)
    weights = torch.ones(3)
    assert uploads.begin(lambda: {"weights": weights}, tokens=10)
    weights.fill_(7.0)
    checkpoints.may_go.set()
    assert uploads.wait(10)
    assert checkpoints.saved == [(10, 1.0)]
    assert uploads.stored_tokens == 10
    uploads.close()


def test_a_state_that_is_stored_is_not_kept_in_memory() -> None:
    sent: list[weakref.ref[torch.Tensor]] = []

    class Watched(SlowCheckpoints):
        def save(self, state: Mapping[str, Any], **known: Any) -> None:
            sent.append(weakref.ref(state["weights"]))
            super().save(state, **known)

    checkpoints = Watched()
    checkpoints.may_go.set()
    uploads = Uploads(checkpoints)
    uploads.begin(lambda: {"weights": torch.ones(1)}, tokens=10)
    assert uploads.wait(10)
    assert [copy() for copy in sent] == [None]
    uploads.close()


def test_one_at_a_time_and_a_second_is_not_even_copied() -> None:
    checkpoints = SlowCheckpoints()
    uploads = Uploads(checkpoints)
    uploads.begin(lambda: {"weights": torch.ones(1)}, tokens=10)
    assert checkpoints.begun.wait(10)
    assert not uploads.begin(lambda: pytest.fail("copied"), tokens=20)
    checkpoints.may_go.set()
    assert uploads.wait(10)
    assert uploads.begin(lambda: {"weights": torch.ones(1)}, tokens=20)
    assert uploads.wait(10)
    assert [tokens for tokens, _ in checkpoints.saved] == [10, 20]
    uploads.close()


def test_an_unreachable_store_is_tried_again_with_the_newest_state(
    caplog: pytest.LogCaptureFixture,
) -> None:
    checkpoints = SlowCheckpoints(failures=3)
    checkpoints.may_go.set()
    uploads = Uploads(checkpoints, first_pause=0.05)
    uploads.begin(lambda: {"weights": torch.ones(1)}, tokens=10)
    while not uploads.begin(lambda: {"weights": torch.full((1,), 2.0)}, tokens=20):
        pass
    assert uploads.wait(10)
    assert checkpoints.saved[-1] == (20, 2.0)
    assert caplog.text.count("training continues") == 1, "it is said once"
    assert "stored again" in caplog.text
    uploads.close()


def test_one_that_is_kept_is_retried_until_it_is_stored() -> None:
    checkpoints = SlowCheckpoints(failures=2)
    checkpoints.may_go.set()
    uploads = Uploads(checkpoints, first_pause=0.05)
    assert uploads.begin(lambda: {"weights": torch.ones(1)}, tokens=10, keep=True)
    while checkpoints.failures:
        assert not uploads.begin(lambda: pytest.fail("copied"), tokens=20)
    assert uploads.wait(10)
    assert uploads.begin(lambda: {"weights": torch.ones(1)}, tokens=20)
    assert uploads.wait(10)
    assert [tokens for tokens, _ in checkpoints.saved] == [10, 20]
    uploads.close()


def test_the_end_waits_for_no_store_that_does_not_answer() -> None:
    before = set(threading.enumerate())
    checkpoints = SlowCheckpoints(failures=10**6)
    checkpoints.may_go.set()
    uploads = Uploads(checkpoints, first_pause=60)
    uploads.begin(lambda: {"weights": torch.ones(1)}, tokens=10)
    assert not uploads.wait(0.2)
    uploads.close()
    assert set(threading.enumerate()) <= before, "its thread has ended"


def test_a_snapshot_shares_no_memory() -> None:
    state = {"a": torch.ones(2), "b": [torch.ones(1), 3], "c": (1, {"d": torch.zeros(1)})}
    copied = snapshot(state)
    state["a"].zero_()
    assert torch.equal(copied["a"], torch.ones(2))
    assert copied["c"] == (1, {"d": torch.zeros(1)})
    assert isinstance(copied["c"], tuple)


def test_a_whole_way_to_a_store_and_back(tmp_path: Any) -> None:
    uploads = Uploads(Checkpoints(PathStore(tmp_path), cell="abc"))
    uploads.begin(lambda: {"weights": torch.arange(3)}, tokens=5, bits_per_byte=2.0)
    assert uploads.wait(10)
    uploads.close()
    restored = Checkpoints(PathStore(tmp_path), cell="abc").newest()
    assert restored.tokens == 5
    assert restored.state is not None
    assert torch.equal(restored.state["weights"], torch.arange(3))
