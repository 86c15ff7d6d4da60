"""A study whose finalists race."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.study.studies import MadeUp, noisy, run_made_up, study_of
from tune_app.study import evaluating
from tune_app.study.file import study_from
from tune_app.study.race import compared
from tune_app.study.run import read_study

PHASES = [
    {"kind": "baseline", "seeds": 4, "rates": []},
    {"kind": "rank", "seeds": 1},
    {"kind": "race", "seeds": 4, "most": 2},
]


def effect(values: Mapping[str, Any]) -> float:
    return 0.1 * abs(float(values["glu_expansion"]) - 2.0)


def test_finalists_race_and_the_verdict_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[str] = []
    monkeypatch.setattr(
        evaluating,
        "evaluate_cell",
        lambda chosen, *_, **__: evaluated.append(chosen.cell.cell.label),
    )
    monkeypatch.setattr(evaluating, "write_results", lambda *_: None)
    study = study_of(phase=PHASES, evaluate=["latency"])
    code, _ = run_made_up(study, MadeUp(noisy(0.001, effect)), tmp_path, monkeypatch)
    assert code == 0
    assert len(evaluated) == 3, "those that left too"
    folder = tmp_path / "tiny"
    told = json.loads((folder / "verdict.json").read_text("utf-8"))
    assert told["verdict"]["winner"] == "2"
    assert told["verdict"]["reason"].startswith("the race: 2 is left after ")
    race = read_study(study, folder).phases[2]
    scheduler = race.results.sweep.scheduler
    assert scheduler["name"] == "race" and scheduler["smallest_difference"] == 0.005
    assert scheduler["degrees_of_freedom"] == 3 and 0 < scheduler["sigma"] < 0.01
    assert "in a race of 4 blocks at most; the race begins with σ = 0.00" in race.origin["reason"]
    report = (folder / "REPORT.md").read_text("utf-8")
    assert "| design | left after | for | worse by | e-value | bound |" in report
    assert "no design has left for one that is no better" in report


def test_designs_that_left_early_do_not_take_the_others_seeds(tmp_path: Path) -> None:
    class Results:
        is_race = True

    scores = {"a": {0: 1.0, 1: 1.0}, "b": {0: 2.0}, "c": {0: 2.0, 1: 2.0}, "d": {0: 2.0}}
    assert set(compared(Results(), scores)) == {"a", "c"}  # type: ignore[arg-type]
    del scores["c"]
    assert set(compared(Results(), scores)) == {"a", "b", "d"}  # type: ignore[arg-type]
    Results.is_race = False
    assert compared(Results(), scores) is scores  # type: ignore[arg-type]


def test_a_race_in_a_study_needs_two_seeds() -> None:
    with pytest.raises(ValueError, match="finalists need at least 2 fresh seeds"):
        study_from({"tokens": 10, "phase": [{"kind": "race", "seeds": 1}]}, name="x")
