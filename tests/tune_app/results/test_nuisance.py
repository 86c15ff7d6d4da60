"""Designs of a sweep with a nuisance axis, on journals whose scores are made by hand."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.tune_app.sweeps import TOKENS, observe, planned
from tune_app.journal.journal import Journal
from tune_app.journal.records import COMPLETED, Action, Decision, SweepRecord
from tune_app.results.caveats import caveats
from tune_app.results.columns import of_designs, of_results
from tune_app.results.design_table import design_rows
from tune_app.results.designs import Design
from tune_app.results.nuisance import at_the_end, closing_sentences, how_chosen, turned
from tune_app.results.plots.by_nuisance import nuisance_plot
from tune_app.results.report import write_report
from tune_app.results.summary import SweepResults, summarise
from tune_app.results.tables import cell_rows, write_csv
from tune_app.stopping.asha_stop import AshaStopSettings
from tune_app.stopping.kill_rule import KillRule
from tune_app.terminal.leader import leader_lines

FACTORS = (0.5, 1.0, 2.0)

Scores = Mapping[tuple[float, float, int], float | None]
"""(expansion, learning rate factor, seed) → full bits per byte; None for a cell that ASHA stops."""


def made(path: Path, scores: Scores) -> SweepResults:
    """A sweep over the expansions, factors and seeds in `scores`; what is not named has not run."""
    expansions, factors, seeds = (
        tuple(dict.fromkeys(name[at] for name in scores)) for at in range(3)
    )
    plan = planned(
        expansions=expansions,
        seeds=[int(seed) for seed in seeds],
        nuisance={"learning_rate_factor": sorted(factors)},
    )
    record = SweepRecord(
        name="made",
        space=plan.space,
        corpus=plan.corpus,
        corpus_sha256="0" * 64,
        baseline=plan.baseline.key,
        tokens=plan.tokens,
        seeds=plan.seeds,
        scheduler={"name": "asha-stop", **AshaStopSettings().as_dict()},
        kill_rule=KillRule(unit="off").as_dict(),
        bytes_per_token={"byte_level_bpe-4096": 3.0},
        created_at=0.0,
        command="stellux sweep made",
        axes=plan.axes,
        nuisance=plan.nuisance,
    )
    with Journal.create(path / "journal.sqlite3", record, plan.cells) as journal:
        for cell in plan.cells:
            values = cell.values
            place = (values["glu_expansion"], values["learning_rate_factor"], values["seed"])
            if place not in scores:
                continue
            journal.start_attempt(cell.key)
            score = scores[place]
            journal.record(observe(cell.key, TOKENS // 2, 3.0), None if score else _stop(cell.key))
            if score is not None:
                done = Decision(
                    cell=cell.key,
                    tokens=TOKENS,
                    action=Action.FINISH,
                    rule=COMPLETED,
                    reason="trained all",
                )
                journal.record(observe(cell.key, TOKENS, score, whole=score), done)
        return summarise(journal)


def _stop(key: str) -> Decision:
    return Decision(
        cell=key, tokens=TOKENS // 2, action=Action.STOP, rule="asha-stop", reason="rung: worse"
    )


def whole(
    by_design: Mapping[float, Mapping[float, tuple[float | None, ...]]],
) -> dict[tuple[float, float, int], float | None]:
    """Scores of each design by factor, a seed after the other."""
    return {
        (expansion, factor, seed): score
        for expansion, by_factor in by_design.items()
        for factor, by_seed in by_factor.items()
        for seed, score in enumerate(by_seed)
    }


LUCKY = whole(
    {
        # The baseline is steady, and at its best at 1.
        2.66: {0.5: (2.20, 2.21, 2.20), 1.0: (2.10, 2.11, 2.10), 2.0: (2.15, 2.16, 2.14)},
        # The same at 0.5 and 1, and 2 is lucky on the first seed: the best score of all.
        4.0: {0.5: (2.22, 2.20, 2.21), 1.0: (2.13, 2.13, 2.12), 2.0: (2.02, 2.19, 2.21)},
    }
)


@pytest.fixture(scope="module")
def lucky(tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    return made(tmp_path_factory.mktemp("lucky"), LUCKY)


def design(results: SweepResults, label: str) -> Design:
    return next(one for one in results.designs if one.label == label)


def test_a_lucky_rate_on_one_seed_does_not_win(lucky: SweepResults) -> None:
    best = min((cell for cell in lucky.cells if cell.score), key=lambda cell: cell.score or 9.0)
    assert best.cell.label == "4 × 2 × seed 0"
    assert [one.label for one in lucky.ranking] == ["2.66", "4"]
    winner, loser = lucky.ranking
    assert loser.chosen is not None and loser.chosen.values == {"learning_rate_factor": 2.0}
    assert winner.mean == pytest.approx(2.105) and loser.mean == pytest.approx(2.20)
    assert lucky.gap(loser) == pytest.approx(0.095)
    assert how_chosen(loser) == (
        "at learning rate factor 2, chosen on seed 0 and scored on seeds 1, 2; "
        "3 of 3 values compared"
    )


def test_all_that_was_tried_is_charged_to_the_design(lucky: SweepResults) -> None:
    first, _ = design_rows(lucky)
    assert first["charged_baseline_tokens"] == 9 * TOKENS
    assert first["charged_seconds"] == pytest.approx(9 * TOKENS / 100)
    baseline = lucky.ranking[0]
    assert baseline.training_seconds == pytest.approx(3 * TOKENS / 100), "three rates on a seed"
    per_cell = baseline.cells[0].training_flops
    assert per_cell is not None and baseline.training_flops == pytest.approx(3 * per_cell)


def test_the_tables_say_what_was_chosen_and_what_counts(
    lucky: SweepResults, tmp_path: Path
) -> None:
    rows = {row["label"]: row for row in cell_rows(lucky)}
    assert rows["4 × 2 × seed 0"]["is_chosen"] and not rows["4 × 2 × seed 0"]["counts"]
    assert rows["4 × 2 × seed 1"]["counts"] and rows["4 × 2 × seed 1"]["rank"] == 2
    assert rows["4 × 1 × seed 1"]["rank"] is None
    # Each cell is compared with the baseline on its seed and at its rate.
    assert rows["4 × 2 × seed 1"]["gap_bits_per_byte"] == pytest.approx(2.19 - 2.16)
    write_csv(design_rows(lucky), tmp_path / "designs.csv")
    with (tmp_path / "designs.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["design"], first["rank"], first["chosen_learning_rate_factor"]) == (
        "2.66",
        "1",
        "1.0",
    )
    assert second["scored_on_seeds"] == "1 2" and second["values_compared"] == "3"
    assert second["choice_reason"] == ("learning rate factor 2 has 2.0200 on seed 0, the best of 3")
    assert all(of_designs(name).meaning for name in first)
    assert of_results("is_chosen").meaning and of_results("counts").meaning


def test_a_ranking_that_reverses_is_told_by_name(tmp_path: Path) -> None:
    results = made(
        tmp_path,
        whole(
            {
                2.66: {0.5: (2.30, 2.30), 1.0: (2.20, 2.20), 2.0: (2.10, 2.10)},
                4.0: {0.5: (2.15, 2.15), 1.0: (2.12, 2.12), 2.0: (2.25, 2.25)},
            }
        ),
    )
    ((ahead, behind, sentence),) = turned(results)
    assert (ahead.label, behind.label) == ("2.66", "4")
    assert sentence == (
        "the ranking reverses within the nuisance: 4 is behind 2.66, each at its chosen value, but "
        "ahead of it at learning rate factor 0.5 (by 0.1500 bits per byte) and at learning rate "
        "factor 1 (by 0.0800 bits per byte)"
    )
    assert at_the_end(results) == [
        "the best learning_rate_factor of 2.66 lies at the end of the range (2): widen it"
    ]
    lines = [line.plain for line in leader_lines(results)]
    assert sentence in lines and at_the_end(results)[0] in lines
    write_report(results, [], tmp_path / "report.html")
    page = " ".join((tmp_path / "report.html").read_text().split())
    assert "4 is behind 2.66, each at its chosen value, but ahead of it" in page
    assert "lies at the end of the range (2): widen it" in page


def test_one_seed_is_called_optimistic_everywhere(tmp_path: Path) -> None:
    results = made(tmp_path, {name: score for name, score in LUCKY.items() if name[2] == 0})
    assert [one.label for one in results.ranking] == ["4", "2.66"], "for want of a second seed"
    told = "chosen and scored on the same seed, so every score is optimistic: --seeds 0,1"
    assert any(told in line for line in closing_sentences(results))
    assert any("optimistic" in line for line in caveats(results))
    write_report(results, [], tmp_path / "report.html")
    assert "optimistic" in (tmp_path / "report.html").read_text()
    assert not any(row["held_out"] for row in design_rows(results))


def test_what_was_stopped_counts_by_what_finished(tmp_path: Path) -> None:
    results = made(
        tmp_path,
        whole(
            {
                2.66: {0.5: (None, None), 1.0: (2.10, 2.11), 2.0: (2.15, None)},
                # Lucky on the seed that chooses, and stopped on the other one: not chosen.
                4.0: {0.5: (2.05, None), 1.0: (2.12, 2.13), 2.0: (None, None)},
                # Stopped everywhere but where it was lucky: ranked behind, though it has the best.
                3.0: {0.5: (2.01, None), 1.0: (None, None), 2.0: (None, None)},
                2.0: {0.5: (None, None), 1.0: (None, None), 2.0: (None, None)},
            }
        ),
    )
    assert [one.label for one in results.ranking] == ["2.66", "4", "3"]
    assert how_chosen(design(results, "4")).endswith("scored on seed 1; 2 of 3 values compared")
    assert "chosen and scored on the same seed, 0, which is optimistic; 1 of 3" in how_chosen(
        design(results, "3")
    )
    assert design(results, "2").choice is None
    assert any("3 finished on no seed but the one" in line for line in closing_sentences(results))
    last = design_rows(results)[-1]
    assert (last["design"], last["rank"], last["cells_stopped"]) == ("2", None, 6)
    plot = nuisance_plot(results, "learning_rate_factor")
    lines = [line for line in plot.figure.axes[0].get_lines() if len(line.get_xdata()) > 1]
    assert [list(line.get_xdata()) for line in lines] == [[1.0, 2.0], [0.5, 1.0]]
