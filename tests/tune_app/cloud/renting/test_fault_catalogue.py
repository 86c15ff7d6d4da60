"""Every kind of fault at every state, on a virtual clock: nobody pays for what nobody wanted.

This proves that the renting is consistent with Vast.ai's documents, not how Vast.ai bills.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tune_app.cloud.renting.fault_world import FAULTS, STATES, World, happen


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_the_catalogue_is_long_enough() -> None:
    assert len(FAULTS) >= 24


def test_a_long_life_with_some_faults(world: World) -> None:
    world.recover()
    chance = random.Random(15)
    for fault in chance.sample(sorted(FAULTS), 12):
        happen(world, fault, chance.choice(sorted(STATES)))
    world.settle()


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_at_every_state(world: World, fault: str, state: str) -> None:
    world.recover()
    happen(world, fault, state)
    if fault.startswith("killed"):
        assert world.deaths == 1
    world.settle()
