"""The budget's stages and refusals, and what a drain does, as pure decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tune_app.cloud.renting.budget import Budget, Ending, Spent, Stage
from tune_app.cloud.renting.drain import Cause, Drain, Phase, Seen, next_drain, seconds_left

ENDING = Ending(save_s=180.0, destroy_s=4.0, unable_s=700.0, save_dollars=0.01)
BUDGET = Budget(
    cap=10.0,
    spending=Spent(ledger=5.0),
    per_hour=3.6,
    workers=5,
    ending=ENDING,
    reserve_hours=0.5,
)
SEEN = Seen(
    now=1_000.0,
    budget=BUDGET,
    unasked_s=5.0,
    drivers=1,
    saved=False,
    drivers_unknown=False,
    empty=False,
)


def spent(dollars: float) -> Budget:
    return replace(BUDGET, spending=Spent(ledger=dollars))


def step(drain: Drain | None, **seen: object) -> Drain | None:
    return next_drain(drain, replace(SEEN, **seen), unasked_limit_s=900.0)  # type: ignore[arg-type]


def test_the_reserve_ends_and_saves_all_workers_at_the_worst_moment() -> None:
    assert BUDGET.destroy_reserve == pytest.approx(0.72)  # 3.6 $/h, 700 + 5 · 4 s
    assert BUDGET.drain_reserve == pytest.approx(0.72 + 0.18 + 0.05)
    assert replace(BUDGET, per_hour=0.0, workers=0).drain_reserve == 0.0


def test_the_stages_of_a_budget() -> None:
    stages = [spent(dollars).stage for dollars in (7.24, 7.26, 9.04, 9.06, 9.27, 9.29, 11.0)]
    assert stages == [
        Stage.OPEN,
        Stage.CLOSED,
        Stage.CLOSED,
        Stage.DRAIN,
        Stage.DRAIN,
        Stage.SPENT,
        Stage.SPENT,
    ]
    assert replace(BUDGET, waiting="old billing data").stage is Stage.CLOSED


def test_a_launch_must_leave_what_ending_all_costs() -> None:
    budget = spent(6.0)
    # Two hours' halves, a set-up, and the end of six workers: 2.25 + 0.1 + 1.190.
    assert budget.refusal(per_hour=0.9, setup=0.1) is None
    refusal = replace(budget, cap=9.5).refusal(per_hour=0.9, setup=0.1)
    assert refusal is not None
    assert "$6.00 of the cap of $9.50" in refusal
    assert "raise the cap" in refusal
    old = replace(budget, waiting="nothing is rented on billing data older than 60 minutes")
    assert old.refusal(per_hour=0.0, setup=0.0) == old.waiting


def test_the_greatest_of_three_counts_holds() -> None:
    assert Spent(ledger=1.0, charges=3.0, credit=2.0).dollars == 3.0
    assert Spent(ledger=1.0, charges=3.0, credit=4.0).by == "credit"
    assert replace(BUDGET, spending=Spent(ledger=1.0, credit=9.9)).stage is Stage.SPENT


def test_a_drain_waits_for_the_word_then_destroys_then_sees_nothing_left() -> None:
    drain = step(None, budget=spent(9.1))
    assert drain is not None
    assert (drain.cause, drain.phase) == (Cause.CAP, Phase.SAVING)
    assert "$9.10 of the cap of $10.00 is spent" in drain.reason
    assert seconds_left(drain, 1_060.0) == 120.0
    assert step(drain, budget=spent(9.15), now=1_060.0) == drain
    ending = step(drain, budget=spent(9.2), now=1_100.0, saved=True)
    assert ending is not None
    assert (ending.phase, ending.saved, ending.ending_since) == (Phase.ENDING, True, 1_100.0)
    assert step(ending, budget=spent(9.2), now=1_115.0) == ending
    ended = step(ending, budget=spent(9.2), now=1_130.0, empty=True)
    assert ended is not None
    assert (ended.phase, ended.ended_at) == (Phase.ENDED, 1_130.0)
    idle = replace(spent(9.2), per_hour=0.0, workers=0)
    assert step(ended, budget=idle, now=1_145.0, empty=True) == ended, "until the cap is raised"
    over = step(ended, budget=replace(idle, cap=20.0), now=1_160.0, empty=True)
    assert over is not None
    assert over.over


@pytest.mark.parametrize(
    "seen",
    [{"now": 1_180.0}, {"budget": spent(9.3)}, {"drivers": 0}],
    ids=["the deadline", "the money", "no driver"],
)
def test_a_drain_waits_no_longer_than(seen: dict[str, object]) -> None:
    drain = step(None, budget=spent(9.1))
    after = step(drain, **({"budget": spent(9.15), "now": 1_030.0} | seen))
    assert after is not None
    assert after.phase is Phase.ENDING
    assert not after.saved


def test_a_new_daemon_waits_for_drivers_that_did_not_ask_yet() -> None:
    drain = step(None, budget=spent(9.1), drivers=0, drivers_unknown=True)
    assert drain is not None
    assert drain.phase is Phase.SAVING


def test_workers_that_nobody_asks_for_are_ended_until_somebody_asks() -> None:
    assert step(None, unasked_s=899.0) is None
    drain = step(None, unasked_s=900.0)
    assert drain is not None
    assert drain.cause is Cause.UNASKED
    assert "nobody asked for the list of workers for 15 minutes" in drain.reason
    again = step(drain, unasked_s=1.0)
    assert again is not None
    assert again.over
    none = replace(BUDGET, per_hour=0.0, workers=0)
    assert step(None, unasked_s=9_000.0, budget=none) is None
