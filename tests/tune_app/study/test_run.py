"""A study from phase to phase, with made-up sweeps."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.results.browser import look
from tests.tune_app.study.studies import MadeUp, noisy, origins, run_made_up, study_of
from tune_app.journal.journal import Journal
from tune_app.plan.plan import SweepPlan
from tune_app.study.definition import definition_values, kept_study
from tune_app.study.file import load_study, study_from
from tune_app.study.run import OtherEvidenceError, read_study


def best_is_two(values: Mapping[str, Any]) -> float:
    return float({2.0: -0.3, 2.66: 0.0, 3.0: 0.2}[values["glu_expansion"]])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MadeUp]:
    """The results of a study that nothing interrupted, and what stood in for its sweeps."""
    results, sweeps = tmp_path_factory.mktemp("whole"), MadeUp(noisy(0.01, best_is_two))
    with pytest.MonkeyPatch.context() as monkeypatch:
        code, shown = run_made_up(study_of(), sweeps, results, monkeypatch)
    assert code == 0
    assert "Phase 2 of 3, rank" in shown
    return results, sweeps


def told(results: Path) -> str:
    return (results / "tiny" / "verdict.json").read_text("utf-8")


def test_a_study_names_the_design_that_is_better(whole: tuple[Path, MadeUp]) -> None:
    results, _ = whole
    verdict = json.loads(told(results))["verdict"]
    assert (verdict["winner"], verdict["split"], verdict["baseline"]) == ("2", "test", "2.66")
    assert verdict["p"] < 0.01
    assert verdict["seeds"] == [3, 4, 5]
    report = (results / "tiny" / "REPORT.md").read_text("utf-8")
    assert "**Verdict, on the test split: 2 is better than 2.66, which is 0." in report
    assert "| 2.66 (baseline) |" in report
    assert "| rank | 3 | 2 | 3.0k | 2.0k | – | " in report
    assert "| 3 | 2." in report.split("| seed | ")[1], "what every seed says"
    rows = (results / "tiny/tables/verdict.csv").read_text("utf-8").splitlines()
    assert rows[0] == "design,bits per byte,behind,interval,p,baseline's perplexity"
    assert rows[1].startswith("2,2.") and len(rows) == 4
    assert r"\toprule" in (results / "tiny/tables/effects-rank.tex").read_text("utf-8")
    first, second, third = origins(study_of(), results)
    assert first["reason"] == "the baseline on 3 seeds measures the seeds' noise"
    assert second["sigma"]["degrees_of_freedom"] == 3
    assert third["evidence"]["ranking"][0]["design"] == "2"
    assert third["after"] == ["baseline", "rank"]


def test_its_definition_is_whole(whole: tuple[Path, MadeUp]) -> None:
    results, _ = whole
    assert kept_study(results / "tiny") == study_of()
    study = load_study("quick")
    values = json.loads(json.dumps(definition_values(study)))
    again = study_from(values, name="other")
    assert again.phases == study.phases
    assert json.loads(json.dumps(definition_values(again))) == values


def test_designs_named_by_numbers_have_a_row_each_under_their_names(
    whole: tuple[Path, MadeUp],
) -> None:
    page = (whole[0] / "tiny/report.html").read_text("utf-8")
    element = r'<script type="application/json" data-chart="chart-([\w-]+)">(.*?)</script>'
    charts = {name: json.loads(chart) for name, chart in re.findall(element, page)}
    assert charts["margins"]["data"][0]["y"] == ["2", "2.66", "3"]
    for name in ("margins", "scores"):
        assert charts[name]["layout"]["yaxis"]["type"] == "category", name


def test_its_page_has_the_verdict_on_top_and_fits_a_phone(
    whole: tuple[Path, MadeUp], tmp_path: Path
) -> None:
    page = whole[0] / "tiny/report.html"
    text = page.read_text("utf-8")
    top = text[text.index("<body>") : text.index('id="finalists"')]
    assert "2 is the best" in top and "Verdict, on the test split: 2 is better than 2.66" in top
    assert "its 95% interval" in top and "smallest difference that matters" in top
    assert '<a href="1-rank/report.html">' in text
    seen = look(page, tmp_path, width=400)
    assert seen["errors"] == []
    assert seen["page"] <= seen["window"]
    charts = {one["name"]: one for one in seen["charts"]}
    assert list(charts) == [f"chart-{one}" for one in ("margins", "curves", "scores", "effects-0")]
    assert all(one["drawn"] and one["hovered"] for one in charts.values())


def test_what_a_phase_trained_is_adopted_by_the_next(whole: tuple[Path, MadeUp]) -> None:
    results, sweeps = whole
    found = read_study(study_of(), results / "tiny")
    keys = [key for trained in sweeps.trained.values() for key in trained]
    assert len(keys) == len(set(keys)), "a cell was trained twice"
    assert len(sweeps.trained["1-rank"]) == len(found.phases[1].results.cells) - 1
    with Journal.open(results / "tiny/1-rank/journal.sqlite3", read_only=True) as journal:
        baseline = journal.sweep().baseline
        assert [one.tokens for one in journal.observations(baseline)] == [500, 1_000]
        assert len(journal.attempts(baseline)) == 1


def test_a_phase_whose_folder_is_deleted_gets_the_same_origin(
    whole: tuple[Path, MadeUp], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, first = whole
    shutil.copytree(results / "tiny", tmp_path / "tiny")
    store = tmp_path / "tiny/checkpoints"
    for key in {key for trained in first.trained.values() for key in trained}:
        (store / key).mkdir(parents=True)
        (store / key / "1000-aa.json").touch()
    for name in ("2-finalists", "1-rank"):
        shutil.rmtree(tmp_path / "tiny" / name)
        sweeps = MadeUp(noisy(0.01, best_is_two))
        run_made_up(study_of(), sweeps, tmp_path, monkeypatch)
        assert list(sweeps.trained) == [name]
        assert origins(study_of(), tmp_path) == origins(study_of(), results)
        assert told(tmp_path) == told(results)
        # It would go on from what the removed phase had left, and lack the curve before.
        left = {path.parent.name for path in store.glob("*/*")}
        assert left.isdisjoint(first.trained[name])
        assert left >= set(first.trained["0-baseline"])


@pytest.mark.parametrize("after", [8])
def test_an_interrupted_study_decides_alike(
    after: int, whole: tuple[Path, MadeUp], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, _ = whole
    broken = MadeUp(noisy(0.01, best_is_two))
    broken.interrupt_after = after
    code, shown = run_made_up(study_of(), broken, tmp_path, monkeypatch)
    assert code == 130
    assert "Continue it with: again" in shown
    broken.interrupt_after = None
    assert run_made_up(study_of(), broken, tmp_path, monkeypatch)[0] == 0
    assert origins(study_of(), tmp_path) == origins(study_of(), results)
    assert told(tmp_path) == told(results)


def test_a_changed_file_is_refused(
    whole: tuple[Path, MadeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, sweeps = whole
    other = study_of(axes={"glu_expansion": [2.0, 2.66]})
    with pytest.raises(OtherEvidenceError, match=r"'rank' in .* cells, evidence, reason differ"):
        run_made_up(other, sweeps, results, monkeypatch)


def test_finalists_keep_their_dollars_and_a_study_that_is_too_dear_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def an_hour_a_thousand_tokens(plan: SweepPlan) -> list[float]:
        return [3.6 * plan.tokens for _ in plan.cells]

    sweeps = MadeUp(noisy(0.01))
    priced: dict[str, Any] = {"timed": an_hour_a_thousand_tokens, "dollars_per_hour": 1.0}
    with pytest.raises(ValueError, match=r"it may cost \$26.00 if nothing is stopped"):
        run_made_up(study_of(), sweeps, tmp_path, monkeypatch, **priced, max_dollars=25.0)
    assert sweeps.trained == {} and not (tmp_path / "tiny/forecast.json").exists()
    assert (
        run_made_up(study_of(), sweeps, tmp_path, monkeypatch, **priced, max_dollars=27.0)[0] == 0
    )
    # 18 of the 27 are kept for finalists, 3 for the ranking; what nothing has spent is theirs too.
    assert sweeps.limits == {"0-baseline": 6.0, "1-rank": 9.0, "2-finalists": 27.0}
    report = (tmp_path / "tiny/REPORT.md").read_text("utf-8")
    assert "| $18.00 |" in report and "| together | 17 |" in report


def test_a_better_learning_rate_is_taken_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slower_is_better(values: Mapping[str, Any]) -> float:
        return -0.5 if values["learning_rate_factor"] == 0.5 else 0.0

    study = study_of()
    run_made_up(study, MadeUp(noisy(0.01, slower_is_better)), tmp_path, monkeypatch)
    _, rank, finalists = read_study(study, tmp_path / "tiny").phases
    assert rank.origin["rate"] == finalists.origin["rate"] == 0.5
    assert "it is the last one tried" in rank.origin["rate_reason"]
    for phase in (rank, finalists):
        rates = {cell.cell.values["learning_rate_factor"] for cell in phase.results.cells}
        assert rates == {0.5}
