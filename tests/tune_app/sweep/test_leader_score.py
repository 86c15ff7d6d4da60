"""The test split is scored for the leader and the baseline, once, and decides nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from data.prepared import PreparedCorpus
from tests.model.training.cuda_errors import ILLEGAL_ADDRESS, cuda_error
from tests.tune_app.journals import make_journal
from tune_app.command_line import INTERRUPTED
from tune_app.journal.endings import CTRL_C, EndKind
from tune_app.journal.journal import Journal
from tune_app.journal.records import Score, Status
from tune_app.plan.tokenizer import tokenizer_of
from tune_app.results.caveats import caveats
from tune_app.results.columns import of_results
from tune_app.results.report import write_report
from tune_app.results.summary import summarise
from tune_app.results.tables import cell_rows
from tune_app.stores.base import StoreUnreachableError
from tune_app.sweep.leader_score import cells_to_score, score_leader
from tune_app.sweep.outcome import Outcome
from tune_app.terminal.tables import summary
from tune_app.trial import held_out

AXES = {"feed_forward": ("relu2", "swiglu", "geglu")}


def a_score(cell: str, bits_per_byte: float = 2.5) -> Score:
    return Score(
        cell=cell,
        split="test",
        tokens=150_000,
        bits_per_byte=bits_per_byte,
        perplexity=8.0,
        text_bytes=1_000,
    )


def with_kept_checkpoints(journal: Journal) -> None:
    for cell in journal.cells():
        if cell.attempts:
            journal.keep(cell.key, f"checkpoints/{cell.key}/1-0.pt")


def corpora(journal: Journal, *, has_test: bool = True) -> Mapping[str, PreparedCorpus]:
    (tokenizer,) = {tokenizer_of(cell.values).key for cell in journal.cells()}
    return {tokenizer: cast(PreparedCorpus, SimpleNamespace(has_test=has_test))}


@dataclass
class Scorer:
    """Stands for the evaluation of a checkpoint; fails as told, once for each entry."""

    failures: list[BaseException | None]
    scored: list[str]

    def __call__(self, cell: str, checkpoint: str, *_: Any, **__: Any) -> Score:
        assert checkpoint.startswith(f"checkpoints/{cell}/")
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.scored.append(cell)
        return a_score(cell, 9.0)


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    scorer = Scorer(failures=[], scored=[])
    monkeypatch.setattr(held_out, "score", scorer)
    return scorer


def run(journal: Journal, *, has_test: bool = True) -> str:
    console = Console(file=io.StringIO(), width=200)
    score_leader(journal, corpora(journal, has_test=has_test), Path(), console=console)
    return cast(io.StringIO, console.file).getvalue()


def test_the_leader_and_the_baseline_are_scored_once_in_all_their_seeds(
    tmp_path: Path, scorer: Scorer
) -> None:
    with make_journal(tmp_path / "journal.sqlite3", axes=AXES, seeds=(0, 1)) as journal:
        with_kept_checkpoints(journal)
        results = summarise(journal)
        assert results.leader is not None and results.baseline is not None
        wanted = [cell.cell.key for cell in (*results.leader.cells, *results.baseline.cells)]
        assert len(set(wanted)) == 4
        assert "which decides nothing" in run(journal)
        assert scorer.scored == wanted
        assert run(journal) == ""
        assert scorer.scored == wanted
        # The worst test scores that there are move nobody.
        after = summarise(journal)
        assert [one.label for one in after.ranking] == [one.label for one in results.ranking]
        assert after.leader is not None and after.leader.test_mean == 9.0
        assert after.test_gap(after.leader) == 0.0


def test_a_leader_that_is_the_baseline_is_scored_alone(tmp_path: Path, scorer: Scorer) -> None:
    with make_journal(tmp_path / "journal.sqlite3") as journal:
        with_kept_checkpoints(journal)
        run(journal)
        assert scorer.scored == [journal.sweep().baseline]


def test_without_a_test_split_or_a_finished_cell_nothing_is_scored(
    tmp_path: Path, scorer: Scorer
) -> None:
    with make_journal(tmp_path / "journal.sqlite3") as journal:
        assert run(journal, has_test=False) == ""
    fates = {(name,): "pending" for name in AXES["feed_forward"]}
    with make_journal(tmp_path / "pending.sqlite3", axes=AXES, fates=fates) as journal:
        assert cells_to_score(summarise(journal)) == []
        assert run(journal) == ""
    assert scorer.scored == []


@pytest.mark.parametrize(
    "failure",
    [StoreUnreachableError("no answer"), ValueError("no such [/red] file"), RuntimeError("memory")],
)
def test_what_cannot_be_scored_is_told_and_ends_nothing(
    tmp_path: Path, scorer: Scorer, caplog: pytest.LogCaptureFixture, failure: BaseException
) -> None:
    with make_journal(tmp_path / "journal.sqlite3", axes=AXES) as journal:
        run(journal)
        assert "no checkpoint of it is kept" in caplog.text
        with_kept_checkpoints(journal)
        scorer.failures[:] = [failure]
        run(journal)
        assert f"is not scored on the test split: {failure}" in caplog.text
        assert len(scorer.scored) == 1
        run(journal)
        assert len(scorer.scored) == len(set(scorer.scored)) == 2


def test_what_failed_is_told_with_the_remedy(tmp_path: Path, scorer: Scorer) -> None:
    with make_journal(tmp_path / "journal.sqlite3", axes=AXES) as journal:
        with_kept_checkpoints(journal)
        scorer.failures[:] = [StoreUnreachableError("no answer")]
        leader = cells_to_score(summarise(journal))[0].cell.label
        told = f"not scored on the test split, the same command tries it again: {leader}\n"
        assert run(journal).endswith(told)
        assert len(scorer.scored) == 1


def test_where_the_gpu_is_lost_the_rest_is_left_to_another_process(
    tmp_path: Path, scorer: Scorer
) -> None:
    with make_journal(tmp_path / "journal.sqlite3", axes=AXES) as journal:
        with_kept_checkpoints(journal)
        scorer.failures[:] = [cuda_error(ILLEGAL_ADDRESS)]
        ending = score_leader(journal, corpora(journal), Path(), console=Console(quiet=True))
        assert scorer.scored == [], "each further one would fail, too"
        assert ending is not None and ending.kind is EndKind.LOST
        assert "was lost while the test split was scored: " in ending.reason
        assert "an illegal memory access" in ending.reason
        outcome = Outcome(statuses=(Status.FINISHED,), ending=ending, scores_left=True)
        assert (outcome.exit_code, outcome.ended_by) == (1, ending.reason)
        assert score_leader(journal, corpora(journal), Path(), console=Console(quiet=True)) is None
        assert len(scorer.scored) == 2


def test_a_leader_of_an_earlier_command_may_have_another_tokenizer(
    tmp_path: Path, scorer: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    other = cast(PreparedCorpus, SimpleNamespace(has_test=True))
    with make_journal(tmp_path / "journal.sqlite3") as journal:
        with_kept_checkpoints(journal)
        score_leader(journal, {"byte_level_bpe-9": other}, Path(), console=Console(quiet=True))
    assert "has its tokenizer, byte_level_bpe-4096" in caplog.text
    assert scorer.scored == []


def test_a_sweep_that_was_interrupted_here_goes_on_here(tmp_path: Path, scorer: Scorer) -> None:
    path = tmp_path / "journal.sqlite3"
    with make_journal(path, axes=AXES) as journal:
        with_kept_checkpoints(journal)
        scorer.failures[:] = [None, KeyboardInterrupt()]
        assert "the same command scores what is left" in run(journal)
    with Journal.open(path) as journal:
        assert len(journal.scores()) == 1
        run(journal)
        assert len(journal.scores()) == len(scorer.scored) == 2


def test_a_sweep_whose_scoring_was_interrupted_is_not_done() -> None:
    outcome = Outcome(statuses=(Status.FINISHED,), ending=CTRL_C, scores_left=True)
    assert not outcome.complete and outcome.interrupted and outcome.exit_code == INTERRUPTED


def test_the_scores_are_shown_apart_from_what_ranks(tmp_path: Path) -> None:
    with make_journal(tmp_path / "journal.sqlite3", axes=AXES) as journal:
        before = summarise(journal)
        assert before.leader is not None and before.baseline is not None
        write_report(before, [], tmp_path / "before.html")
        (told,) = (text for text in caveats(before) if "flatters it" in text)
        assert "It was not scored on a test split" in told
        journal.score(a_score(before.leader.cells[0].cell.key, 2.5))
        journal.score(a_score(before.baseline.cells[0].cell.key, 2.75))
        results = summarise(journal)
        write_report(results, [], tmp_path / "report.html")
        rows = {row["cell"]: row for row in cell_rows(results)}
        console = Console(file=io.StringIO(), width=120)
        console.print(summary(journal, tmp_path))
    leader = rows.pop(before.leader.cells[0].cell.key)
    assert (leader["test_bits_per_byte"], leader["test_perplexity"]) == (2.5, 8.0)
    del rows[before.baseline.cells[0].cell.key]
    assert {row["test_bits_per_byte"] for row in rows.values()} == {None}
    assert all(of_results(name).meaning for name in leader if name.startswith("test_"))
    (told,) = (text for text in caveats(results) if "flatters it" in text)
    assert "chosen by its score on the dev split, among 3 that finished" in told
    assert "2.5000 bits per byte, −0.2500 against the baseline there" in told
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "bits per byte, test split" in page
    assert "test split</th>" in page
    assert "test split</th>" not in (tmp_path / "before.html").read_text("utf-8")
    shown = cast(io.StringIO, console.file).getvalue()
    assert "2.5000 bits per byte on the test split, which decided nothing" in shown
