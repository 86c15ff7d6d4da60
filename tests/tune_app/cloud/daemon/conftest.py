"""A daemon as a process, and the API that it rents from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.cloud.daemon.daemons import DaemonProcess
from tests.tune_app.cloud.vast.fake_vast import FakeVast, offer


@pytest.fixture
def fake() -> Iterator[FakeVast]:
    with FakeVast([offer(i, min_bid=0.20 + i / 1000) for i in range(1, 30)]) as server:
        yield server


@pytest.fixture
def build(tmp_path: Path, fake: FakeVast) -> Iterator[Callable[..., DaemonProcess]]:
    made: list[DaemonProcess] = []

    def build(**settings: Any) -> DaemonProcess:
        made.append(DaemonProcess(tmp_path, fake, **settings))
        return made[-1]

    yield build
    fake.let_go()
    for daemon in made:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
