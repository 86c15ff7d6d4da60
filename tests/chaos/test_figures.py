"""What a fault cost, from the journal's attempts and the signs of life."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.faults import Blow
from tests.chaos.figures import (
    STORED_AGAIN_WITHIN,
    WITHOUT_STORE,
    Cost,
    as_text,
    costs,
    rows,
)
from tests.chaos.progress import Sample
from tune_app.journal.records import Attempt

BLOW = Blow(number=1, kind="worker killed", at=100.0, reached={"a": 5_000})


def sample(tokens: int, at: float, cell: str = "a") -> Sample:
    return Sample(cell=cell, tokens=tokens, at=at)


def attempt(started_at: float, resumed_from: int | None) -> Attempt:
    return Attempt(cell="a", number=2, host="h", started_at=started_at, resumed_from=resumed_from)


def test_a_death_costs_what_the_next_attempt_trains_again() -> None:
    samples = [sample(5_000, 99.0), sample(4_500, 104.0), sample(5_500, 105.5)]
    (cost,) = costs([BLOW], samples, [attempt(1.0, 0), attempt(101.0, 4_000)])
    assert cost == Cost(number=1, kind="worker killed", cell="a", retrained=1_000, recovery=5.5)


def test_an_attempt_that_goes_on_costs_no_tokens() -> None:
    (cost,) = costs([BLOW], [sample(5_600, 130.0)], [attempt(1.0, 0), attempt(200.0, 0)])
    assert (cost.retrained, cost.recovery) == (0, 30.0)


def test_a_checkpoint_newer_than_the_heartbeat_costs_nothing() -> None:
    (cost,) = costs([BLOW], [sample(5_600, 103.0)], [attempt(101.0, 5_200)])
    assert cost.retrained == 0


def test_what_is_not_known_is_no_number() -> None:
    (cost,) = costs([BLOW], [], [attempt(101.0, None)])
    assert (cost.retrained, cost.recovery) == (None, None)


def test_other_cells_do_not_count() -> None:
    (cost,) = costs([BLOW], [sample(9_000, 101.0, cell="b")], [])
    assert cost.recovery is None


def test_a_loss_while_the_store_is_away_is_in_a_row_of_its_own() -> None:
    away = Blow(number=2, kind="store away", at=95.0, reached={}, seconds=3.0)
    later = replace(BLOW, number=3, at=98.0 + STORED_AGAIN_WITHIN + 1)
    found = costs([away, BLOW, later], [], [])
    assert [cost.kind for cost in found] == [WITHOUT_STORE, "worker killed"]
    assert [row.kind for row in rows(found, tokens_per_interval=1.0)] == [
        "worker killed",
        WITHOUT_STORE,
    ]


def test_the_table_has_median_and_worst_of_each_kind() -> None:
    found = [
        Cost(number=number, kind="node killed", cell="a", retrained=tokens, recovery=seconds)
        for number, tokens, seconds in ((1, 100, 4.0), (2, 300, 9.0), (3, 200, None))
    ]
    (row,) = rows(found, tokens_per_interval=200.0)
    assert (row.kind, row.faults, row.cells) == ("node killed", 3, 3)
    assert (row.retrained_median, row.retrained_worst, row.worst_in_intervals) == (200, 300, 1.5)
    assert (row.recovery_median, row.recovery_worst) == (6.5, 9.0)
    text = as_text([row], interval=2.0, tokens_per_interval=200.0)
    assert "node killed" in text
    assert "1.50" in text
    assert "A checkpoint every 2 s" in text
