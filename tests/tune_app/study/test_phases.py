"""What each kind of phase trains and reports, with made-up sweeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.study.studies import MadeUp, noisy, run_made_up, study_of
from tune_app.study.audit import audited
from tune_app.study.run import read_study

BASELINE = {"kind": "baseline", "seeds": 3, "rates": []}
RANK = {"kind": "rank"}
WIDE: Mapping[str, Any] = {
    "axes": {"glu_expansion": [2.0, 2.66], "n_heads": [2, 4]},
    "phase": [
        BASELINE,
        RANK,
        {"kind": "combine"},
        {
            "kind": "ablate",
            "seeds": 2,
            "axes": {"vocab_size": [2_048, 4_096], "embedding": ["tied", "untied"]},
        },
        {"kind": "finalists", "seeds": 3, "most": 2},
        {"kind": "rates", "rates": [0.5, 2.0]},
        {"kind": "audit"},
    ],
}


def effect(values: Mapping[str, Any]) -> float:
    """Expansion 2 and two heads are better, a small vocabulary much better; at twice the learning
    rate a small vocabulary is much worse."""
    by = 0.1 * (values["glu_expansion"] != 2.0) + 0.05 * (values["n_heads"] != 2)
    by += 0.3 * (values["embedding"] == "untied")
    if values["vocab_size"] == 2_048:
        by += 0.9 if values["learning_rate_factor"] == 2.0 else -0.4
    return by


def stops(values: Mapping[str, Any]) -> bool:
    return bool(values["glu_expansion"] == 2.0 and values["n_heads"] == 2 and values["seed"] == 0)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MadeUp, dict[str, Any]]:
    """The study's folder, what stood in for its sweeps, and its verdict."""
    results = tmp_path_factory.mktemp("wide")
    sweeps = MadeUp(
        noisy(0.002, effect), stops=lambda values: "1-rank" in sweeps.at and stops(values)
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        code, _ = run_made_up(study_of(**WIDE), sweeps, results, monkeypatch)
    assert code == 0
    folder = results / "tiny"
    return folder, sweeps, json.loads((folder / "verdict.json").read_text("utf-8"))


def test_the_combination_that_was_stopped_is_trained_from_where_it_was(
    wide: tuple[Path, MadeUp, dict[str, Any]],
) -> None:
    folder, sweeps, told = wide
    combine = told["phases"][2]
    assert "expansion 2 (next expansion 2.66, 0.1000 behind" in combine["reason"]
    assert "1 design did not finish" in combine["reason"]
    assert combine["reason"].endswith("their combination is trained")
    (key,) = sweeps.trained["2-combine"]
    assert key in sweeps.trained["1-rank"]
    phase = read_study(study_of(**WIDE), folder).phases[2]
    (cell,) = [cell for cell in phase.results.cells if cell.cell.key == key]
    assert [one.tokens for one in cell.curve] == [500, 1_000]
    assert len(cell.attempts) == 2
    assert phase.origin["evidence"]["effects"][0]["levels"][0]["value"] == [2.0]


def test_ablations_say_which_share_and_width_they_have(
    wide: tuple[Path, MadeUp, dict[str, Any]],
) -> None:
    folder, _, told = wide
    rows = {row["change"].split(" at ")[0]: row for row in told["phases"][3]["ablations"]}
    assert set(rows) == {"vocabulary 2,048", "embedding untied"}
    small = rows["vocabulary 2,048"]
    assert small["by"] == pytest.approx(-0.4, abs=0.02)
    assert small["p"] < 0.01
    assert small["width_before"] == small["width_after"]
    assert small["share_after"] < 0.6 * small["share_before"]
    report = (folder / "REPORT.md").read_text("utf-8")
    assert f"| vocabulary 2,048 at d\\_model {small['width_after']} |" in report


def test_the_verdict_flips_at_another_rate_and_says_so(
    wide: tuple[Path, MadeUp, dict[str, Any]],
) -> None:
    folder, _, told = wide
    assert "2,048" in told["verdict"]["winner"]
    flips = {rate["factor"]: rate["flips"] for rate in told["verdict"]["other_rates"]}
    assert flips == {0.5: False, 2.0: True}
    report = (folder / "REPORT.md").read_text("utf-8")
    assert "The order flips at another learning rate, so the rate decides it: at × 2 by" in report


def test_an_audit_shows_the_false_kill(wide: tuple[Path, MadeUp, dict[str, Any]]) -> None:
    folder, sweeps, told = wide
    assert "6-audit" not in sweeps.trained, "the combination has been trained to its end already"
    (cell,) = told["phases"][6]["audited"]
    assert cell["wrong"]
    assert "False kills: 1 of 1; under 5 no rate is stated." in (folder / "REPORT.md").read_text(
        "utf-8"
    )
    found = read_study(study_of(**WIDE), folder)
    assert [one.rule for one in audited(found)] == ["kill_rule"]


def test_nothing_is_trained_twice_in_any_phase(wide: tuple[Path, MadeUp, dict[str, Any]]) -> None:
    _, sweeps, _ = wide
    keys = [key for trained in sweeps.trained.values() for key in trained]
    (again,) = sweeps.trained["2-combine"]
    assert sorted(key for key in set(keys) if keys.count(key) > 1) == [again]


@pytest.mark.parametrize("planted", [None, 0.1])
def test_one_design_under_six_names(
    planted: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = {"kind": "control", **({} if planted is None else {"planted": planted})}
    study = study_of(phase=[BASELINE, control])

    def spoilt(values: Mapping[str, Any]) -> float:
        return 0.5 if values["learning_rate_factor"] == 0.1 else 0.0

    run_made_up(study, MadeUp(noisy(0.01, spoilt)), tmp_path, monkeypatch)
    report = (tmp_path / "tiny/REPORT.md").read_text("utf-8")
    assert "These data cannot tell name " in report
    assert ("name 6 is worse than name" in report) == (planted is not None)


def test_a_ranking_from_which_nothing_finished_leaves_no_finalists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(phase=[RANK, {"kind": "finalists"}])
    sweeps = MadeUp(noisy(0.01), stops=lambda _: True)
    code, shown = run_made_up(study, sweeps, tmp_path, monkeypatch)
    assert code == 1
    assert "ends before its phase finalists: no design has finished at 1,000 tokens" in shown
    report = (tmp_path / "tiny/REPORT.md").read_text("utf-8")
    assert "No verdict: no finalists have finished on a common seed." in report


def test_designs_that_a_rung_left_behind_fill_the_places_of_finalists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ranking may train its leader alone to the end, which then would have no rival."""
    finalists = {"kind": "finalists", "seeds": 2, "least": 1, "most": 2}
    study = study_of(phase=[BASELINE, RANK, finalists])
    sweeps = MadeUp(
        noisy(0.001, lambda values: abs(float(values["glu_expansion"]) - 2.66)),
        pauses=lambda values: "rank" in sweeps.at and values["glu_expansion"] != 2.66,
    )
    code, _ = run_made_up(study, sweeps, tmp_path, monkeypatch)
    assert code == 0
    phase = read_study(study, tmp_path / "tiny").phases[2]
    assert {cell.cell.values["glu_expansion"] for cell in phase.results.cells} == {2.66, 3.0}
    (behind,) = phase.origin["evidence"]["left_behind"]
    assert (behind["design"], behind["milestone"], behind["seeds"]) == ("3", 500, 1)
    assert (
        "with 1 design that a rung left behind, as so few have finished" in phase.origin["reason"]
    )
    verdict = json.loads((tmp_path / "tiny/verdict.json").read_text("utf-8"))["verdict"]
    assert verdict["winner"] == "2.66"


@pytest.mark.parametrize(
    ("rule", "recorded", "told"),
    [
        ({"unit": "ppl", "margin": 0.5, "span": 300}, "ppl", "0.5 ppl worse than the baseline, is"),
        ({"unit": "sigma", "margin": 3.0, "span": 300}, "bpb", "or 3.0 σ at the end"),
    ],
)
def test_the_kill_rule_is_told_in_sigma(
    rule: dict[str, Any],
    recorded: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = study_of(kill_rule=rule, phase=[BASELINE, RANK])
    run_made_up(study, MadeUp(noisy(0.01)), tmp_path, monkeypatch)
    _, rank = read_study(study, tmp_path / "tiny").phases
    assert rank.results.sweep.kill_rule["unit"] == recorded
    report = (tmp_path / "tiny/REPORT.md").read_text("utf-8")
    assert told in report
    assert "so noise alone stops at most as many" in report


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"kind": "combine", "tokens": 5}, "give both the same tokens"),
        ({"kind": "ablate"}, "has no cells: it names no axes"),
        (
            {"kind": "ablate", "axes": {"a, b": [[1, 2]]}},
            "axes is .* it must be a mapping of names",
        ),
        ({"kind": "control", "seeds": 7}, "seeds is 7 for 6 names"),
        ({"kind": "control", "planted": 0}, "planted is 0; it must be above 0"),
        ({"kind": "rates"}, "follows no phase of kind finalists"),
        ({"kind": "audit", "most": 0}, "most is 0; it must be at least 1"),
    ],
)
def test_phases_that_cannot_follow(phase: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study_of(phase=[RANK, phase])
