"""Plan, status and summary as a person reads them."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from tests.tune_app.journals import make_journal
from tune_app.journal.endings import Ending, EndKind
from tune_app.journal.journal import Journal
from tune_app.journal.records import Failure, FailureClass, Status
from tune_app.plan.rows import PlanRow, PlanSizes
from tune_app.terminal.tables import plan_table, status_table, summary

SIZES = PlanSizes(
    share=0.3512,
    expansion=2.658,
    d_model=219,
    n_layers=12,
    n_heads=4,
    head_dim=54,
    d_ff=582,
    parameters=9_998_336,
)
SOLVED = PlanRow(
    label="35% × 2.66",
    asked_share=0.35,
    asked_expansion=2.66,
    tokens=5_000_000,
    sizes=SIZES,
    expected_seconds=3_700.0,
    memory_bytes=1_500_000_000,
)
REFUSED = PlanRow(
    label="90% × 4",
    asked_share=0.9,
    asked_expansion=4.0,
    tokens=5_000_000,
    infeasible="no width gives 10.0M ± 0.5 %",
    nearest="share 88 %, × 4.0",
)


def test_plan_shows_asked_and_solved_values() -> None:
    text = _text(plan_table([SOLVED, REFUSED]), width=80)
    (row,) = [line for line in text.splitlines() if line.startswith("35% × 2.66")]
    assert " ".join(row.split()) == (
        "35% × 2.66 35→35.1 2.66→2.66 219 12 4×54 582 9.998M 1h 01m 1.4 GiB"
    )
    assert "not shown" not in text


def test_plan_shows_the_rank_where_a_cell_has_one() -> None:
    ranked = replace(SOLVED, label="15%", sizes=replace(SIZES, embedding_rank=96))
    pinned = replace(ranked, label="pinned", asked_embedding_rank=96)
    text = _text(plan_table([SOLVED, ranked]), width=100)
    assert "15% 35→35.1 96 2.66→2.66" in " ".join(text.split())
    assert "35% × 2.66 35→35.1 2.66→2.66" in " ".join(text.split())
    assert "free→96" not in text
    assert "pinned 35→35.1 96→96" in " ".join(_text(plan_table([pinned]), width=100).split())


def test_plan_shows_active_parameters_where_they_are_fewer() -> None:
    dense = replace(SOLVED, sizes=replace(SIZES, active=9_998_336))
    experts = replace(dense, label="moe", sizes=replace(SIZES, active=4_000_000))
    text = _text(plan_table([dense, experts]), width=120)
    assert "9.998M 4.000M" in " ".join(text.split())
    assert "9.998M 9.998M" in " ".join(text.split())
    assert "active" not in _text(plan_table([dense]), width=120)


def test_plan_gives_reasons_and_the_nearest_request_below() -> None:
    text = _text(plan_table([SOLVED, REFUSED]), width=120)
    assert "1 of 2 cells are feasible; 5.0M tokens each; 1h 01m of trial time" in text
    assert "infeasible 90% × 4  no width gives 10.0M ± 0.5 %; nearest: share 88 %, × 4.0" in text


def test_plan_leaves_out_what_nobody_knows() -> None:
    row = PlanRow(label="a", asked_share=0.35, asked_expansion=2.66, tokens=5_000_000, sizes=SIZES)
    text = _text(plan_table([row]), width=120)
    assert not re.search(r"time|memory|lr", text)


def test_plan_says_what_is_pinned_and_what_is_free() -> None:
    pinned = PlanRow(
        label="wide",
        asked_share=None,
        asked_expansion=None,
        asked_d_model=219,
        tokens=5_000_000,
        sizes=SIZES,
    )
    refused = replace(pinned, label="wider", asked_d_model=800, sizes=None, infeasible="too wide")
    lines = _text(plan_table([pinned, SOLVED, refused]), width=120).splitlines()
    rows = {line.split()[0]: " ".join(line.split()) for line in lines if "→" in line}
    assert rows["wide"].startswith("wide free→35.1 free→2.66 219→219 12 4×54 582")
    assert "35→35.1 2.66→2.66 free→219 12" in rows["35%"]
    assert rows["wider"].startswith("wider free→– free→– 800→– –")


def test_plan_names_the_columns_that_have_no_room() -> None:
    text = _text(plan_table([SOLVED]), width=40)
    assert max(len(line) for line in text.splitlines()) <= 40
    assert "not shown for lack of width:" in text
    assert "memory" in text


def test_a_plan_row_is_solved_or_has_a_reason() -> None:
    with pytest.raises(ValueError, match="either sizes or a reason"):
        PlanRow(label="a", asked_share=0.35, asked_expansion=2.66, tokens=1)
    with pytest.raises(ValueError, match="either sizes or a reason"):
        PlanRow(
            label="a",
            asked_share=0.35,
            asked_expansion=2.66,
            tokens=1,
            sizes=SIZES,
            infeasible="no width",
        )


def test_status_has_every_cell_with_its_reason(tmp_path: Path) -> None:
    with make_journal(tmp_path / "quick" / "journal.sqlite3") as journal:
        text = _text(status_table(journal), width=100)
        cells = journal.cells()
    for cell in cells:
        assert re.search(rf"^{re.escape(cell.label)} +{cell.status.value}", text, re.MULTILINE)
        if cell.status in (Status.STOPPED, Status.FAILED, Status.INFEASIBLE):
            reason = re.escape(cell.reason[:20])
            ending = rf"^{cell.status.value} +{re.escape(cell.label)}  .*{reason}"
            assert re.search(ending, text, re.MULTILINE)
    assert "quick  12 cells: 4 finished, 6 stopped, 1 failed, 1 infeasible" in text
    assert "at 56k/150k tokens by divergence: dev bits per byte is nan" in text


def test_status_shows_a_running_sweep(tmp_path: Path) -> None:
    fates = {(0.25, 2.0): "running 3", (0.25, 2.66): "pending"}
    with make_journal(tmp_path / "quick" / "journal.sqlite3", fates=fates) as journal:
        text = _text(status_table(journal), width=100)
    assert re.search(r"^25% × [\d.]+ +running +56k/150k +2\.\d{4} ", text, re.MULTILINE)
    assert re.search(r"^25% × 2\.66 +pending +– +– +– +– +–$", text, re.MULTILINE)


def test_status_says_why_the_newest_run_left_cells(tmp_path: Path) -> None:
    path = tmp_path / "quick" / "journal.sqlite3"
    with make_journal(path, fates={(0.25, 2.66): "pending"}) as journal:
        spent = Ending(kind=EndKind.DOLLARS, reason="$5.00 of --max-dollars 5 is spent")
        journal.end_run(journal.begin_run(), spent)
    with Journal.open(path, read_only=True) as journal:
        text = _text(status_table(journal), width=200)
    assert "no process runs it (paused: $5.00 of --max-dollars 5 is spent); continue it" in text


def test_status_shows_the_progress_between_evaluations_and_how_old_it_is(tmp_path: Path) -> None:
    fates = {(0.25, 2.0): "running 3", (0.25, 2.66): "running 2"}
    with make_journal(tmp_path / "quick" / "journal.sqlite3", fates=fates) as journal:
        running, *_ = (cell for cell in journal.cells() if cell.status is Status.RUNNING)
        journal.beat(running.key, 61_000, "worker-1")
        now = journal.heartbeats()[running.key].at + 83
        text = _text(status_table(journal, clock=lambda: now), width=120)
    label = re.escape(running.label)
    assert re.search(rf"^{label} +running +61k/150k +1m 23s ago +2\.\d{{4}} ", text, re.MULTILINE)
    assert "tokens       alive  dev bpb" in text
    assert "attempts" not in text, "no cell was started twice"


def test_a_score_is_not_shown_beside_fewer_tokens_than_it_was_taken_at(tmp_path: Path) -> None:
    """The last sign of life of a killed process may be older than its last evaluation."""
    fates = {(0.25, 2.0): "running 3", (0.25, 2.66): "running 2"}
    with make_journal(tmp_path / "quick" / "journal.sqlite3", fates=fates) as journal:
        running, *_ = (cell for cell in journal.cells() if cell.status is Status.RUNNING)
        journal.beat(running.key, 1_000, "worker-1")
        text = _text(status_table(journal), width=120)
        journal.keep(running.key, f"checkpoints/{running.key}/90000-0c5e.pt")
        saved = _text(status_table(journal), width=120)
    assert re.search(rf"^{re.escape(running.label)} +running +56k/150k ", text, re.MULTILINE)
    assert re.search(rf"^{re.escape(running.label)} +running +90k/150k ", saved, re.MULTILINE)


def test_status_and_summary_tell_of_failures_attempts_and_resumes(tmp_path: Path) -> None:
    folder = tmp_path / "quick"
    fates = {(0.25, 2.0): "lost 3", (0.45, 3.0): "failed 1", (0.45, 2.0): "diverged 3"}
    with make_journal(folder / "journal.sqlite3", fates=fates) as journal:
        status = _text(status_table(journal), width=160)
        result = _text(summary(journal, folder), width=160)
    assert re.search(r"full dev bpb  attempts  resumes$", status, re.MULTILINE)
    assert re.search(r"^25% × 2 +finished .* 2 +1$", status, re.MULTILINE)
    assert re.search(r"^25% × 3 +finished .* 1 +0$", status, re.MULTILINE)
    lost = (
        "retried    25% × 2  host failure at 56k/150k tokens on worker-1: the worker's process "
        "is gone (the node died)"
    )
    failed = "failed     45% × 3  code failure at 19k/150k tokens: RuntimeError: DataLoader <w"
    for text in (status, result):
        assert lost in text
        assert failed in text
    assert (
        "failures  3: 1 × error in the program, 1 × lost host or process, "
        "1 × NaN or infinite loss; 2 of them ended a cell"
    ) in result


def test_after_a_diverged_baseline_there_is_one_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "quick"
    fates = {(0.35, 2.66): "diverged 2", (0.25, 2.0): "pending"}
    make_journal(folder / "journal.sqlite3", fates=fates).close()
    with Journal.open(folder / "journal.sqlite3", read_only=True) as journal:
        for text in (status_table(journal), summary(journal, folder)):
            told = _text(text, width=200)
            assert "start another sweep with other settings under another --name" in told
            assert "continue" not in told


def test_a_cell_that_is_lost_often_is_told_of_once(tmp_path: Path) -> None:
    fates = {(0.25, 2.0): "running 3"}
    with make_journal(tmp_path / "quick" / "journal.sqlite3", fates=fates) as journal:
        running, *_ = (cell for cell in journal.cells() if cell.status is Status.RUNNING)
        for host in range(5):
            journal.fail(
                Failure(
                    cell=running.key,
                    kind=FailureClass.HOST if host else FailureClass.STORAGE,
                    reason=f"number {host} is gone",
                    traceback="",
                    ended=False,
                )
            )
        journal.fail(
            Failure(
                cell=running.key,
                kind=FailureClass.COMPILER,
                reason="there is no C++ compiler",
                traceback="",
                ended=False,
            )
        )
        text = _text(status_table(journal), width=160)
    assert "compiler" not in text, "it was not retried for that"
    assert text.count("retried") == 1
    assert (
        f"{running.label}  5 times (4 × lost host or process, 1 × failure of the store or a disk), "
        "the latest: host failure: number 4"
    ) in text


@pytest.mark.parametrize("width", [40, 80])
def test_status_fits(tmp_path: Path, width: int) -> None:
    with make_journal(tmp_path / "quick" / "journal.sqlite3", seeds=(0, 1)) as journal:
        text = _text(status_table(journal), width=width)
    assert max(len(line) for line in text.splitlines()) <= width


def test_summary_calls_one_seed_no_verdict(tmp_path: Path) -> None:
    folder = tmp_path / "quick"
    with make_journal(folder / "journal.sqlite3") as journal:
        text = _text(summary(journal, folder), width=200)
    assert text.startswith("leader on one seed, not a verdict: ")
    assert "against the baseline 35% × 2.66" in text or "it is the baseline" in text
    assert "12: 4 finished, 6 stopped, 1 failed, 1 infeasible" in text
    assert re.search(r"stopping saved \d+k tokens, about \d+s", text)


def test_summary_of_several_seeds_says_how_many(tmp_path: Path) -> None:
    folder = tmp_path / "quick"
    with make_journal(folder / "journal.sqlite3", seeds=(0, 1, 2)) as journal:
        text = _text(summary(journal, folder), width=200)
    assert re.match(r"leader on the mean of \d seeds: \d\d% × [\d.]+$", text.splitlines()[0])
    assert "over the seeds)" in text


def test_summary_without_a_finished_cell_has_no_leader(tmp_path: Path) -> None:
    fates = {
        (share, expansion): "pending"
        for share in (0.25, 0.35, 0.45)
        for expansion in (2.0, 2.66, 3.0, 4.0)
    }
    folder = tmp_path / "quick"
    with make_journal(folder / "journal.sqlite3", fates=fates) as journal:
        text = _text(summary(journal, folder), width=200)
    assert text.startswith("no leader: no cell has finished")
    assert "12 of 12 cells; run the same command again to continue" in text


def test_summary_of_a_diverged_baseline_does_not_say_to_continue(tmp_path: Path) -> None:
    folder = tmp_path / "quick"
    axes = {"embedding": ("tied", "untied")}
    fates = {("tied",): "diverged 1", ("untied",): "pending"}
    with make_journal(folder / "journal.sqlite3", axes=axes, fates=fates) as journal:
        text = _text(summary(journal, folder), width=200)
    assert "1 of 2 cells; the baseline diverged, so start another sweep" in text
    assert "same command" not in text


def test_summary_names_only_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "my runs" / "quick"
    with make_journal(folder / "journal.sqlite3") as journal:
        (folder / "report.html").touch()
        (folder / "optuna.sqlite3").touch()
        text = _text(summary(journal, folder), width=400)
    assert f"report    {folder / 'report.html'}" in text
    assert f"optuna-dashboard 'sqlite:///{folder / 'optuna.sqlite3'}'" in text
    assert "plots" not in text


def _text(renderable: RenderableType, *, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_one_failure_is_told_in_words(tmp_path: Path) -> None:
    axes = {"embedding": ("tied", "untied")}
    fates = {("untied",): "diverged 3"}
    with make_journal(tmp_path / "journal.sqlite3", axes=axes, fates=fates) as journal:
        assert "failures  1: NaN or infinite loss; it ended its cell" in _text(
            summary(journal, tmp_path), width=120
        )


@pytest.mark.parametrize("width", [80, 140])
def test_cells_of_three_axes_can_be_told_apart(tmp_path: Path, width: int) -> None:
    axes = {
        "learning_rate": (0.00316227766, 0.00318993),
        "feed_forward": ("swiglu", "[red]geglu[/red] of a very long name $a$", "relu_squared"),
        "tokenizer": ("first", "another"),
    }
    with make_journal(tmp_path / "journal.sqlite3", axes=axes) as journal:
        labels = [cell.label for cell in journal.cells()]
        lines = _text(status_table(journal), width=width).splitlines()
    assert len(set(labels)) == 12
    assert lines[1] == "cells are named by learning rate × feed-forward × tokenizer"
    rows = lines[4:16]
    names = [row[: row.index("finished")].rstrip() for row in rows]
    assert len(set(names)) == 12 and all(name.startswith("0.00316 ×") for name in names[:2])
    assert all(len(line) <= width for line in lines)
