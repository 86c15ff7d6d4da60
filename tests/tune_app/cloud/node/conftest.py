"""A head and a worker of Ray, on a network of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tune_app.cloud.node.ray_nodes import RayNodes, missing


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    if why := missing():
        pytest.skip(why)
    # Short: sockets lie in it.
    folder = Path(tempfile.mkdtemp(prefix="rn-", dir="/tmp"))
    try:
        with RayNodes(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
