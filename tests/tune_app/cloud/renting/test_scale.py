"""As many workers as the address plan has: the API's limits are kept, and the daemon keeps up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tune_app.cloud.renting.scale import WORKERS, measured
from tune_app.cloud.overlay.addresses import LAST


@pytest.mark.slow
def test_126_workers_are_rented_watched_and_ended_within_the_limits(tmp_path: Path) -> None:
    assert WORKERS == LAST - 1
    found = measured(tmp_path)
    assert found.refused == 0
    assert found.rented_in_s <= 20 * 60
    assert found.ended_in_s <= 8 * 60
    assert found.step_cpu_s < 5.0, "of an interval of 15 s"
    assert found.list_bytes < 200_000
    assert set(found.watched_calls) <= {"list", "charges", "user"}
