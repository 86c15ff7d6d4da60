"""How a search is shown: conditional settings are empty where they do not apply."""

from __future__ import annotations

import io
from pathlib import Path

import optuna
from rich.console import Console

from tests.tune_app.searches import end_all, go_on, planned, search_journal
from tune_app.results.charts.optuna_views import optuna_charts
from tune_app.results.design_table import design_rows
from tune_app.results.mirrors.optuna import write_optuna
from tune_app.results.mirrors.optuna_url import OPTUNA, optuna_url
from tune_app.results.proposals import proposal_rows
from tune_app.results.report import write_report
from tune_app.results.summary import summarise
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.listing import list_sweeps
from tune_app.terminal.progress import SweepProgress
from tune_app.terminal.tables import status_table, summary


def test_a_search_has_a_table_a_study_and_a_report(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    plan = planned(rounds=3, target_parameters=500_000)
    with search_journal(folder / JOURNAL, plan) as journal:
        end_all(journal, fates={"1.2": "stopped"})
        go_on(journal, plan)
        end_all(journal)
        progress = SweepProgress.read(journal)
        assert (progress.to_come, progress.over()) == (4, (9, 13))
        results = summarise(journal)
        write_optuna(journal, folder / OPTUNA)
        write_report(results, [], folder / "report.html")
        console = Console(file=io.StringIO(), width=120)
        console.print(status_table(journal), summary(journal, folder))
        rounds = journal.rounds()
        designs = {cell.key: cell for cell in journal.cells()}
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "round 2 of 3, 9 cells: 8 finished, 1 stopped" in told
    assert "4 of 13 cells; run the same command again to continue" in told
    (listed,) = list_sweeps(tmp_path)
    assert (listed.done, listed.cells, listed.state) == (9, 13, "unfinished")

    proposals = proposal_rows(results)
    assert [one["number"] for one in proposals] == list(range(1, len(proposals) + 1))
    new = {one.cell: one.values for each in rounds for one in each.new}
    for one in proposals:
        chosen = new.get(one["cell"])
        assert (chosen is None) == bool(one["refused"])
        assert bool(one["n_experts"]) == (one["feed_forward"] == "moe")
    kinds = {one["feed_forward"] for one in proposals if not one["refused"]}
    assert "moe" in kinds and len(kinds) > 1

    study = optuna.load_study(study_name="mine", storage=optuna_url(folder / OPTUNA))
    for trial in study.trials[1:]:
        assert trial.params.keys() == new[trial.user_attrs["key"]].keys()
        assert trial.user_attrs["label"] == designs[trial.user_attrs["key"]].label
    assert "n_experts" not in study.trials[0].params

    assert optuna_charts(results), "of the parameters that every design has"
    page = (folder / "report.html").read_text("utf-8")
    assert "Search: 2 of 3 rounds" in page
    assert "tpe, 3 rounds of 4 designs, seed 0" in page
    for row in design_rows(results):
        assert bool(row["n_experts"]) == (row["feed_forward"] == "moe")
