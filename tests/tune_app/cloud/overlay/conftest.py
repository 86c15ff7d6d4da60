"""A head that the tests of links share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tune_app.cloud.overlay.loopback_overlay import Head
from tests.tune_app.stores.servers import SSHD


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head that runs; each test takes workers with numbers of its own."""
    if SSHD is None:
        pytest.skip("no sshd; apt-get install openssh-server")
    if not Path("/proc/net/tcp").exists():
        pytest.skip("no /proc/net/tcp: links are seen on Linux alone")
    if os.getuid() != 0:
        pytest.skip("only root sees and ends an SSH server's sessions")
    # Short: the path of a test's own folder may be longer than a worker's folder may be.
    with tempfile.TemporaryDirectory(prefix="overlay-") as name, Head(Path(name)) as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    """A worker's folder."""
    with tempfile.TemporaryDirectory(prefix="worker-") as name:
        yield Path(name)
