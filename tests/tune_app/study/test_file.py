"""What a study's file may say, and how it is told what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.study.studies import TINY, study_of
from tune_app.study.budget import costs, refuse_over_budget
from tune_app.study.dollars import limit_of_phase, refuse_over_dollars
from tune_app.study.file import StudyError, known_studies, load_study
from tune_app.study.forecast import forecast, forecast_lines, keep_forecast, kept_forecast


def phases(*changed: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**one, **more} for one, more in zip(TINY["phase"], changed, strict=True)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenz": 5}, "unknown setting 'tokenz'; did you mean tokens"),
        ({"phase": []}, "the study has no phases"),
        ({"phase": "rank"}, r"written as \[\[phase\]\]"),
        ({"phase": [{"kind": "rang"}]}, "phase 0 has the kind 'rang'; expected one of"),
        ({"phase": phases({}, {"sedes": 2}, {})}, r"phase 1 \(rank\): unknown setting 'sedes'"),
        ({"phase": phases({}, {"seeds": 0}, {})}, "seeds is 0; it must be at least 1"),
        ({"phase": phases({}, {"seeds": "many"}, {})}, "seeds is 'many'; it must be a whole"),
        ({"phase": phases({"rates": [1.0]}, {}, {})}, "1 is no other learning rate"),
        ({"phase": phases({"rates": 2.0}, {}, {})}, "rates is 2.0; it must be a list"),
        ({"phase": phases({}, {}, {"seeds": 1})}, "finalists need at least 2 fresh seeds"),
        ({"phase": phases({}, {}, {"name": "rank"})}, "two phases are named 'rank'"),
        ({"phase": phases({}, {}, {"name": "../x"})}, "it names a folder"),
        ({"phase": TINY["phase"][::2]}, "follows no phase of kind rank"),
        ({"axes": {}}, "'rank' has no cells: neither it nor the study names axes"),
        ({"axes": {"glu_expansion": []}}, "has no cells: glu_expansion is"),
        ({"axes": {"glu": [1]}}, "unknown setting 'glu'"),
        ({"axes": 3}, "axes is 3; it must be a table"),
        ({"alpha": 2.0}, "alpha is 2; it must be above 0 and below 1"),
        ({"tokens": 0}, "tokens is 0; it must be at least 1"),
        ({"phase": phases({}, {"share": 0.5}, {})}, "names no budget"),
        ({"space": "quick_everything"}, "is searched in rounds, but a study compares designs"),
        ({"metric": "loss"}, "metric is 'loss'; it must be bits_per_byte or perplexity"),
        (
            {"metric": "perplexity", "axes": {"vocab_size": [512, 4096]}},
            "varies vocab_size, and perplexities per token of different tokenizers cannot",
        ),
        ({"budget": 100, "phase": phases({"share": 0.6}, {"share": 0.6}, {})}, "add up to 1.2"),
    ],
)
def test_a_mistake_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study_of(**changes)


def test_perplexity_ranks_where_all_have_one_tokenizer() -> None:
    assert study_of(metric="perplexity").metric == "perplexity"


def test_finalists_that_do_not_fit_are_refused_before_anything_runs() -> None:
    fits = study_of(budget=60_000, phase=phases({}, {}, {"share": 0.3}))
    refuse_over_budget(fits)
    assert [(cost.runs, cost.total) for cost in costs(fits)] == [
        (5, 5_000),
        (3, 3_000),
        (9, 18_000),
    ]
    with pytest.raises(
        ValueError,
        match=r"'finalists' does not fit its budget: 9 runs of 2,000 tokens are 18,000, and its "
        r"share of 0\.2 of 60,000 is 12,000",
    ):
        refuse_over_budget(study_of(budget=60_000, phase=phases({}, {}, {"share": 0.2})))
    with pytest.raises(ValueError, match=r"could need 8,000 tokens .* leaves them 2,000"):
        refuse_over_budget(study_of(budget=20_000, phase=phases({}, {}, {"share": 0.9})))


def test_a_forecast_counts_the_worst_case_and_times_what_it_knows(tmp_path: Path) -> None:
    study = study_of(budget=60_000)
    found = forecast(study, lambda plan: [0.01 * plan.tokens for _ in plan.cells])
    assert [(one.runs, one.total, one.seconds) for one in found] == [
        (5, 5_000, 50.0),
        (3, 3_000, 30.0),
        (9, 18_000, 180.0),
    ]
    facts = dict(forecast_lines(found, budget=study.budget, at_once=2))
    told = "9 runs of 2.0k tokens at most, 18k in all, about 1m 30s, about "
    assert facts["finalists"].startswith(told)
    assert facts["finalists"].endswith("iB of memory a cell")
    assert facts["together"].startswith("26k tokens at most of a budget of 60k, about 2m 10s; ")
    keep_forecast(tmp_path, found)
    assert list(kept_forecast(tmp_path).values()) == list(found)
    paid = forecast(
        study,
        lambda plan: [36.0 * plan.tokens for _ in plan.cells],
        dollars_an_hour=(0.5, 2.0),
        at_once=2,
    )
    assert paid[2].dollars == (45.0, 180.0), "18,000 tokens are 180 hours, 2 cells at once"
    facts = dict(forecast_lines(paid, budget=None, at_once=2))
    assert ", about 3d 18h, $45.00 to $180.00, about " in facts["finalists"]
    assert ", $65.00 to $260.00; starting Ray" in facts["together"]
    (tmp_path / "forecast.json").unlink()
    keep_forecast(tmp_path, paid)
    assert list(kept_forecast(tmp_path).values()) == list(paid)
    (tmp_path / "forecast.json").write_text("[{")
    assert kept_forecast(tmp_path) == {}


def test_a_limit_in_dollars_keeps_what_later_phases_need() -> None:
    found = forecast(
        study_of(),
        lambda plan: [36.0 * plan.tokens for _ in plan.cells],
        dollars_an_hour=(1.0, 1.0),
    )
    assert [one.dollars for one in found] == [(50.0, 50.0), (30.0, 30.0), (180.0, 180.0)]
    refuse_over_dollars(found, limit=260.0, spent=0.0)
    refuse_over_dollars(found, limit=None, spent=0.0)
    told = (
        r"it may cost \$260.00 if nothing is stopped \(baseline \$50.00, rank .*over --max-dollars"
    )
    with pytest.raises(ValueError, match=told):
        refuse_over_dollars(found, limit=259.0, spent=0.0)
    refuse_over_dollars(found, limit=100.0, spent=50.0)  # it goes on until that is spent
    with pytest.raises(ValueError, match=r"has spent \$50.00, and --max-dollars is 50"):
        refuse_over_dollars(found, limit=50.0, spent=50.0)

    spent = {"baseline": 40.0, "rank": 5.0}
    assert limit_of_phase(None, spent=spent, later=found[2:], phase="rank") is None
    assert limit_of_phase(250.0, spent=spent, later=found[2:], phase="rank") == 30.0
    assert limit_of_phase(250.0, spent=spent, later=[], phase="finalists") == 205.0
    with pytest.raises(ValueError, match=r"nothing is left of --max-dollars 225 for the phase 'ra"):
        limit_of_phase(225.0, spent=spent, later=found[2:], phase="rank")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="unknown study 'quikc'; did you mean quick"):
        load_study("quikc")
    with pytest.raises(StudyError, match="there is no study at"):
        load_study(str(tmp_path / "none.toml"))
    path = tmp_path / "cut.toml"
    for content in (b'tokens = "15', b"\xff\xfe", b"[[phase]\n"):
        path.write_bytes(content)
        with pytest.raises(StudyError, match=r"cut\.toml cannot be read"):
            load_study(str(path))


@pytest.mark.parametrize("name", known_studies())
def test_the_studies_that_come_with_the_project_fit_their_budgets(name: str) -> None:
    refuse_over_budget(load_study(name))
