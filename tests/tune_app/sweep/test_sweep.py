"""The sweep as a person runs it: real processes, real Ray, real faults."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.patience import PATIENCE_S
from tests.tune_app.real_sweeps import SLOW_STORE, Sweeps, facts, rows, wait_until
from tune_app.command_line import run_command
from tune_app.journal.records import Status
from tune_app.sweep.__main__ import MODULE, app
from tune_app.trial.trained import load

TIMING = ("seconds", "per_second", "_at", "attempts", "resumes", "wall", "checkpoint", "memory")
"""Parts of the names of columns that depend on the clock; a checkpoint's name hashes such."""


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, cache: Path) -> Sweeps:
    return Sweeps(tmp_path_factory.mktemp("sweeps"), small_corpus, cache)


@pytest.fixture(scope="module")
def small(sweeps: Sweeps) -> Path:
    """A space of two cells and one that is infeasible: what each of them costs is a process."""
    path = sweeps.folder / "two.py"
    changed = 'AXES = {"glu_expansion": [2.66, 3.0, 4.0]}\nFIXED["tokens"] = 5_120\n'
    path.write_text(sweeps.space.read_text() + changed)
    return path


@pytest.fixture(scope="module")
def told(sweeps: Sweeps, small: Path) -> str:
    """What the sweep of the small space said."""
    code, output = sweeps.run("small", space=small)
    assert code == 0, output
    return output


@pytest.fixture(scope="module")
def undisturbed(sweeps: Sweeps) -> None:
    """A sweep with stops and rungs, for comparison."""
    code, output = sweeps.run("undisturbed")
    assert code == 0, output


def table(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "results.parquet")
    return frame[[name for name in frame if not any(word in name for word in TIMING)]]


def test_a_sweep_ends_with_a_leader_and_everything_to_look_at(sweeps: Sweeps, told: str) -> None:
    folder = sweeps.path("small")
    assert "leader" in told
    assert "not a verdict" in told
    assert "kill rule" in told
    assert "starting Ray on this machine" in told
    for name in ("results.csv", "curves.parquet", "decisions.jsonl", "report.html"):
        assert (folder / name).stat().st_size > 0
    assert (folder / "optuna.sqlite3").exists()
    assert list(folder.rglob("*.png"))
    assert list((folder / "tensorboard").rglob("events.*"))
    best = pd.read_parquet(folder / "results.parquet").set_index("rank").loc[1]
    leader = load(best["checkpoint"], folder=folder)
    assert leader.observation is not None and leader.tokenizer.get_vocab_size() == 512
    assert leader.observation.full_bits_per_byte == best["full_bits_per_byte"]
    assert best["checkpoint"] in (folder / "report.html").read_text("utf-8")
    with sweeps.journal("small") as journal:
        assert journal.checkpoints().keys() == {c.key for c in journal.cells() if c.attempts}
        cells = journal.cells()
        *trained, infeasible = cells
        assert trained[0].status is Status.FINISHED, "the baseline is immune"
        assert {cell.status for cell in trained} <= {Status.FINISHED, Status.PAUSED, Status.STOPPED}
        assert all(journal.observations(cell.key) for cell in trained)
        assert len(trained) == 2
        assert infeasible.status is Status.INFEASIBLE
        assert "infeasible 4: No width gives 60k" in told


def test_the_output_of_a_pipe_is_plain(told: str) -> None:
    assert "\x1b" not in told
    assert "\r" not in told
    assert "(raylet" not in told
    assert len(told.splitlines()) < 60


@pytest.mark.sweeps
def test_the_same_command_again_trains_nothing(sweeps: Sweeps, undisturbed: None) -> None:
    def recorded() -> tuple[Any, ...]:
        with sweeps.journal("undisturbed") as journal:
            return facts(journal), [cell.attempts for cell in journal.cells()]

    before = recorded()
    code, output = sweeps.run("undisturbed")
    assert code == 0, output
    assert "starting Ray on this machine" not in output
    assert recorded() == before


@pytest.mark.sweeps
def test_a_driver_killed_twice_changes_nothing(sweeps: Sweeps, undisturbed: None) -> None:
    """SIGKILL in the baseline and in a later cell; one at a time, so decisions are the same."""
    folder = sweeps.path("killed")
    for observations in (5, 13):
        process = sweeps.start("killed")
        count = f"SELECT count(*) >= {observations} FROM observations"
        wait_until(lambda query=count: rows(folder, query) == [(1,)], process)
        process.kill()
        process.communicate()
    attempts = dict(rows(folder, "SELECT key, attempts FROM cells"))
    ended = [key for (key,) in rows(folder, "SELECT key FROM cells WHERE status = 'finished'")]
    assert ended, "the first cell has finished before the driver was killed"
    code, output = sweeps.run("killed")
    assert code == 0, output
    with sweeps.journal("killed") as journal, sweeps.journal("undisturbed") as reference:
        assert facts(journal) == facts(reference)
        for key in ended:
            assert journal.cell(key).attempts == attempts[key], "a finished cell trained again"
        assert sum(cell.attempts for cell in journal.cells()) > 5, "a cell was resumed"
    pd.testing.assert_frame_equal(table(folder), table(sweeps.path("undisturbed")))


@pytest.mark.sweeps
def test_a_slow_store_changes_nothing(sweeps: Sweeps, undisturbed: None) -> None:
    """Cells start before the one before has ended; rungs are decided as if they had not."""
    code, output = sweeps.run("slow", inject=SLOW_STORE)
    assert code == 0, output
    with sweeps.journal("slow") as journal, sweeps.journal("undisturbed") as reference:
        assert facts(journal) == facts(reference)
        assert all(len(journal.attempts(cell.key)) <= 2 for cell in journal.cells())
    pd.testing.assert_frame_equal(table(sweeps.path("slow")), table(sweeps.path("undisturbed")))


@pytest.mark.sweeps
def test_a_sweep_that_grew_from_its_baseline_is_the_whole_sweep(
    sweeps: Sweeps, undisturbed: None
) -> None:
    """One at a time: the same curves and the same decisions."""
    alone = sweeps.folder / "alone.py"
    alone.write_text(sweeps.space.read_text() + 'AXES = {"glu_expansion": [2.66]}\n')
    code, output = sweeps.run("grown", space=alone)
    assert code == 0, output
    code, output = sweeps.run("grown")
    assert code == 0, output
    assert "1 done, 4 not started yet" in output
    assert "changed    expansion 2.66 → 2, 2.5, 2.66, 2.8, 3, 4" in output
    with sweeps.journal("grown") as journal, sweeps.journal("undisturbed") as reference:
        grown, whole = facts(journal), facts(reference)
        assert [cell.amendment for cell in journal.cells()] == [0, 1, 1, 1, 1, 1]
        (amendment,) = journal.amendments()
        assert amendment.added == 5
    for record in (*grown["cells"], *grown["decisions"]):
        record["amendment"] = 0
    baseline = whole["cells"][0]["key"]
    for record in (*grown["decisions"], *whole["decisions"]):
        if record["cell"] == baseline:  # its numbers count the cells that were known then
            del record["reason"], record["evidence"]
    assert grown == whole


@pytest.mark.sweeps
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(sweeps: Sweeps, undisturbed: None) -> None:
    folder = sweeps.path("interrupted")
    process = sweeps.start("interrupted")
    wait_until(lambda: rows(folder, "SELECT count(*) >= 3 FROM observations") == [(1,)], process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("Continue it with: ")]
    assert "--name interrupted" in line
    assert (folder / "report.html").exists(), "what there is can be looked at"
    code, output = sweeps.run("interrupted")
    assert code == 0, output
    with sweeps.journal("interrupted") as journal, sweeps.journal("undisturbed") as reference:
        assert facts(journal) == facts(reference)


def test_other_settings_under_the_same_name_are_refused(
    sweeps: Sweeps, small: Path, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results = str(sweeps.path("small").parent)
    command = [str(small), "--name", "small", "--results", results, "--tokens", "40k"]
    assert run_command(app, MODULE, command) == 2
    assert "tokens is 5120 there, 40000 here" in capsys.readouterr().err
