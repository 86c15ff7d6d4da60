"""Fixtures that several packages' tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text for tests; a test that asks for it is skipped where it is missing."""
    repository = Path(__file__).parent.parent
    folder = Path(os.environ.get("STELLUX_SHARED_DATA", repository / "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no real text at {folder}; STELLUX_SHARED_DATA may name another folder")
    return folder
