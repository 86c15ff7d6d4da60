"""ASHA's rungs, arrival by arrival, and ASHA as a rule before a referee."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.tune_app.sweeps import new_journal, observe
from tune_app.journal.records import Action
from tune_app.stopping.asha_stop import AshaStop, AshaStopSettings
from tune_app.stopping.recording_referee import RecordingReferee
from tune_app.stopping.rungs import Rungs

SETTINGS = AshaStopSettings(reduction_factor=2, grace_fraction=0.25)


def new_rungs() -> Rungs:
    return Rungs(SETTINGS.milestones(1_000), reduction_factor=2)


def test_rungs_lie_where_the_settings_say_and_none_at_the_end() -> None:
    assert SETTINGS.milestones(1_000) == (250, 500)
    assert list(SETTINGS.build(tokens=1_000).rungs.recorded) == [250, 500]
    eta = AshaStopSettings(reduction_factor=3, grace_fraction=0.05)
    assert eta.milestones(5_000_000) == (250_000, 750_000, 2_250_000)


def test_the_first_arrival_always_survives_and_sets_the_cutoff() -> None:
    rungs = new_rungs()
    assert rungs.arrive("a", 249, 9.0) is None
    first = rungs.arrive("a", 250, 9.0)
    assert first is not None
    assert (first.stop, first.cutoff, first.milestone, first.earlier) == (False, None, 250, 0)
    worse = rungs.arrive("b", 260, 9.1)
    assert worse is not None
    assert (worse.stop, worse.cutoff, worse.earlier) == (True, 9.0, 1)


def test_half_of_the_earlier_arrivals_is_the_cutoff_at_eta_two() -> None:
    rungs = new_rungs()
    for cell, value in [("a", 1.0), ("b", 0.9), ("c", 0.8)]:
        assert rungs.arrive(cell, 250, value) is not None
    arrival = rungs.arrive("d", 250, 0.95)
    assert arrival is not None
    assert arrival.cutoff == pytest.approx(0.9)
    assert arrival.stop
    assert rungs.recorded[250] == {"a": 1.0, "b": 0.9, "c": 0.8, "d": 0.95}


def test_a_rung_is_reached_once() -> None:
    rungs = new_rungs()
    rungs.arrive("a", 250, 1.0)
    assert rungs.arrive("a", 300, 5.0) is None
    assert rungs.arrive("a", 250, 5.0) is None
    assert rungs.recorded[250] == {"a": 1.0}


def test_a_late_cell_does_not_fill_the_rungs_below() -> None:
    rungs = new_rungs()
    arrival = rungs.arrive("late", 700, 0.5)
    assert arrival is not None
    assert arrival.milestone == 500
    assert rungs.recorded[250] == {}


def test_a_referee_on_ashas_rungs_stops_the_worse_half_and_never_the_baseline(
    tmp_path: Path,
) -> None:
    journal = new_journal(tmp_path / "journal.sqlite3", expansions=(2.0, 2.66, 3.0, 4.0))
    baseline, *others = (cell.key for cell in journal.cells())
    referee = RecordingReferee(journal, {"asha-stop": SETTINGS.build(tokens=1_000)})
    actions = {}
    for cell, value in zip([others[0], baseline, *others[1:]], [2.0, 2.5, 1.9, 2.2], strict=True):
        decision = referee.judge(observe(cell, 250, value)).decision
        assert decision is not None
        assert decision.rule == "asha-stop"
        assert decision.evidence["immune"] == (cell == baseline)
        actions[cell] = decision.action
    assert actions == {
        others[0]: Action.CONTINUE,
        baseline: Action.CONTINUE,
        others[1]: Action.CONTINUE,
        others[2]: Action.STOP,
    }
    assert "worse than the cutoff 2.0000 of 3 earlier arrivals" in journal.decisions()[-1].reason


def test_rungs_from_a_journal_are_those_of_the_driver_that_died(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "journal.sqlite3", expansions=(2.0, 2.66, 3.0, 4.0))
    cells = [cell.key for cell in journal.cells()]
    rungs, rebuilt = new_rungs(), new_rungs()
    referee = RecordingReferee(journal, {"asha-stop": AshaStop(rungs)})
    for tokens in (100, 250, 400, 500):
        for index, cell in enumerate(cells):
            value = math.nan if index == 2 and tokens == 250 else 2.0 + index / 10
            referee.judge(observe(cell, tokens, value))
    RecordingReferee(journal, {"asha-stop": AshaStop(rebuilt)})
    assert rebuilt.recorded == rungs.recorded
    assert [list(rung) for rung in rebuilt.recorded.values()] == [
        list(rung) for rung in rungs.recorded.values()
    ]


@pytest.mark.parametrize("settings", [{"reduction_factor": 1}, {"grace_fraction": 0.0}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(settings.values())))):
        AshaStopSettings(**settings)  # type: ignore[arg-type]
