"""How many cells a cluster trains, from what it has and what its YAML lets it get."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tune_app.cluster.capacity import UNKNOWN_CELLS, ClusterSize, Machines, node_types
from tune_app.cluster.idle_notice import Waiting

ROOT = Path(__file__).parents[3]


def machine(name: str, *, cpus: float = 4, gpus: float = 0, number: int = 1) -> Machines:
    return Machines(name=name, number=number, cpus=cpus, gpus=gpus)


def test_what_is_there_is_counted() -> None:
    size = ClusterSize(now=(machine("a"), machine("b", cpus=3)))
    assert size.gpus_per_cell() == 0
    assert size.cells_at_once(cpus=1, gpus=0) == 7
    assert size.cells_at_once(cpus=2, gpus=0) == 3, "no cell spans two machines"
    assert size.hosts == 2
    assert not size.grows


def test_what_may_come_is_counted_where_nothing_is_there() -> None:
    size = ClusterSize(later=(machine("worker", gpus=1, number=4),))
    assert size.grows
    assert size.gpus_per_cell() == 1, "the head's own lack of one says nothing"
    assert size.cells_at_once(cpus=1, gpus=1) == 4
    assert size.cells_at_once(cpus=1, gpus=0.5) == 8
    assert size.hosts == 4


def test_the_limit_on_all_machines_counts() -> None:
    kinds = (machine("small", cpus=2, number=10), machine("large", cpus=8, number=2))
    size = ClusterSize(later=kinds, most_machines=3)
    assert size.cells_at_once(cpus=1, gpus=0) == 8 + 8 + 2
    assert size.hosts == 3


def test_of_a_cluster_that_tells_nothing_much_is_hoped() -> None:
    assert ClusterSize().cells_at_once(cpus=1, gpus=0) == UNKNOWN_CELLS
    assert ClusterSize().grows
    assert ClusterSize().hosts == 1
    assert ClusterSize(now=(machine("a", cpus=1),)).cells_at_once(cpus=2, gpus=0) == 1


def test_two_nodes_on_one_machine_are_one_host() -> None:
    assert ClusterSize(now=(machine("a"), machine("a"))).hosts == 1


def test_the_yaml_of_the_cluster_tells_its_workers() -> None:
    types, most = node_types(yaml.safe_load((ROOT / "cluster.yaml").read_text("utf-8")))
    assert [kind.name for kind in types] == ["gpu-worker"], "the head trains nothing"
    assert types[0].gpus == 1
    assert most == types[0].number


def test_what_is_no_yaml_of_a_cluster_is_an_error() -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        node_types(yaml.safe_load("available_node_types: 3"))


def test_a_wait_is_said_soon_and_then_seldom() -> None:
    now = [0.0]
    waiting = Waiting(lambda: now[0])
    said = []
    for second in range(0, 2 * 3_600, 10):
        now[0] = float(second)
        if (waited := waiting.note(waits=True)) is not None:
            said.append(waited)
    assert said == [20, 300, 900, 2_700, 4_500, 6_300]
    assert waiting.note(waits=False) is None
    now[0] += 10
    assert waiting.note(waits=True) is None, "a new wait begins"
    now[0] += 20
    assert waiting.note(waits=True) == 20
