"""A dev sample too small to decide on decides nothing, and says so."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.tune_app.observations import observation
from tune_app.journal.records import Action, CellRecord, Observation, Status
from tune_app.stopping.asha_stop import AshaStopSettings
from tune_app.stopping.curves import Curves
from tune_app.stopping.kill_rule import KillRule
from tune_app.stopping.precision import standard_error, too_few
from tune_app.stopping.referee import Referee
from tune_app.stopping.rule import Trial

LEVELS = [random.Random(0).uniform(1.0, 3.0) for _ in range(32)]


def parts(worse: float, noise: float, *, number: int = 32, seed: int = 1) -> tuple[float, ...]:
    draw = random.Random(seed)
    return tuple(level + worse + draw.gauss(0, noise) for level in LEVELS[:number])


def cells(*keys: str) -> list[CellRecord]:
    return [
        CellRecord(
            key=key,
            label=key,
            position=place,
            values={"seed": 0, "glu_expansion": place},
            reason="",
            config={},
            status=Status.RUNNING,
        )
        for place, key in enumerate(keys)
    ]


def points(cell: str, found: Sequence[float], *, bpb: float, every: int = 100) -> list[Observation]:
    return [
        replace(observation(cell, at * every, bits_per_byte=bpb), sample_parts=tuple(found))
        for at in range(1, 9)
    ]


def test_what_makes_a_stretch_hard_for_both_cells_is_no_error() -> None:
    assert standard_error(parts(0.0, 0.0), parts(0.3, 0.0)) == pytest.approx(0.0)
    one, other = parts(0.0, 0.01), parts(0.3, 0.01, seed=2)
    differences = [a - b for a, b in zip(one, other, strict=True)]
    expected = statistics.stdev(differences) / math.sqrt(32)
    assert standard_error(one, other) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("one", "other", "error"),
    [
        ((), (), None),
        ((2.0,) * 8, (), None),
        ((2.0,), (2.1,), math.inf),
        ((2.0,) * 7, (2.1,) * 7, math.inf),
        ((2.0,) * 7 + (math.inf,), (2.1,) * 8, math.inf),
        ((2.0,) * 8, (2.1,) * 8, pytest.approx(0.0, abs=1e-12)),
    ],
)
def test_older_few_and_infinite_parts(one, other, error) -> None:
    assert standard_error(one, other) == error


def test_too_few_stretches_are_told_of_before_a_sweep_starts() -> None:
    trial = Trial(tokens=1_000, evaluations=10, sample_bytes=12, stretches=1)
    assert "12 bytes in 1 stretch of text" in too_few(trial)
    assert too_few(replace(trial, stretches=8)) == ""


@pytest.mark.parametrize(
    ("one", "other", "stops"),
    [
        (parts(0.0, 0.01), parts(0.1, 0.01, seed=2), True),
        (parts(0.0, 0.5), parts(0.1, 0.5, seed=2), False),
        ((2.0,), (2.1,), False),  # a document of 7 tokens
        ((), (), True),  # evaluations of an older version
    ],
)
@pytest.mark.parametrize("unit", ["bpb", "ppl"])
def test_the_kill_rule_decides_only_where_its_margin_is_above_the_error(
    one, other, stops, unit
) -> None:
    rule = KillRule(unit=unit, margin=0.05 if unit == "bpb" else 0.9, span=300)
    curves = Curves(cells("base", "cell"), baseline="base")
    referee = Referee({"kill_rule": rule}, curves)
    for point in points("base", one, bpb=2.0):
        assert referee.feed(point) is None
    worse = points("cell", other, bpb=2.1)
    if unit == "ppl":
        worse = [
            replace(p, metrics={**p.metrics, "baseline_token_perplexity": 21.0}) for p in worse
        ]
    decisions = [one for point in worse if (one := referee.feed(point)) is not None]
    if stops:
        assert decisions[0].action is Action.STOP
    else:
        (decision,) = decisions
        assert decision.action is Action.CONTINUE and decision.evidence["undecided"]
        assert "too small to decide on" in decision.reason


def test_a_difference_of_many_errors_is_certain_whatever_the_margin() -> None:
    rule = KillRule(unit="bpb", margin=0.001, span=300)
    referee = Referee({"kill_rule": rule}, Curves(cells("base", "cell"), baseline="base"))
    for point in points("base", parts(0.0, 0.1), bpb=2.0):
        referee.feed(point)
    decisions = [referee.feed(point) for point in points("cell", parts(0.4, 0.1, seed=2), bpb=2.4)]
    assert next(one for one in decisions if one is not None).action is Action.STOP


@pytest.mark.parametrize(
    ("kept", "worse", "stops"),
    [
        (parts(0.0, 0.01), parts(0.1, 0.01, seed=2), True),
        (parts(0.0, 0.9), parts(0.1, 0.9, seed=2), False),
        ((2.0,), (2.1,), False),
        ((), (), True),
    ],
)
def test_asha_stops_a_cell_only_if_the_sample_tells_it_from_the_last_that_is_kept(
    kept, worse, stops
) -> None:
    rule = AshaStopSettings().build(tokens=800)
    referee = Referee({"asha-stop": rule}, Curves(cells("a", "b"), baseline="a"))
    for point in points("a", kept, bpb=2.0):
        referee.feed(point)
    decision = next(
        one for point in points("b", worse, bpb=2.1) if (one := referee.feed(point)) is not None
    )
    assert decision.action is (Action.STOP if stops else Action.CONTINUE)
    assert ("too small to decide on" in decision.reason) is not stops
