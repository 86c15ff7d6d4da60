"""A sweep that an older version began is read; continuing it is refused with the reason.

`tests/tune_app/old_sweep/interrupted.tar.xz` is what that version (its journal's schema was 2) left
of a sweep that was killed in its third cell: the journal, the newest checkpoint of that cell, the
live Optuna study and TensorBoard's files. Its space, `OLD_SPACE` with the names of its time,
trained the corpus of `words.py`. It scored another sample of text than this version does.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from model.spec import ModelConfig
from tests.tune_app.old_sweep.words import write_corpus
from tune_app.command_line import run_command
from tune_app.journal.journal import Journal
from tune_app.journal.records import Status
from tune_app.plan.cell import Cell
from tune_app.plan.identity import key_of
from tune_app.sweep.__main__ import MODULE, app
from tune_app.trial.trained import load

FIXTURE = Path(__file__).parent.parent / "old_sweep"

Sweep = Callable[..., tuple[int, str]]

OLD_SPACE = """
AXES = {"embedding": ["tied", "untied"], "glu_expansion": [2.0, 4.0]}
FIXED = {
    "target_parameters": 30_000, "vocab_size": 512, "n_heads": 2, "context": 32,
    "tokens": 20_480, "batch_size": 4, "evaluations": 10, "evaluation_bytes": 4_096,
    "learning_rate": 1e-2, "corpus": "./words", "precision": "fp32",
}
SCHEDULER = {"reduction_factor": 2, "grace_fraction": 0.25}
KILL_RULE = {"span_fraction": 0.3}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the corpus, the space and the interrupted sweep in `runs/s`."""
    write_corpus(tmp_path / "words")
    (tmp_path / "old_space.py").write_text(OLD_SPACE)
    with tarfile.open(FIXTURE / "interrupted.tar.xz") as archive:
        archive.extractall(tmp_path / "runs", filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sweep(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Sweep:
    """The command line in the folder: its exit code, and what it said as one line of words."""
    monkeypatch.setenv("STELLUX_CACHE", str(folder / "cache"))
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> tuple[int, str]:
        try:
            code = run_command(app, MODULE, [*arguments, "--results", "runs"])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, " ".join("".join(capsys.readouterr()).split())

    return run


def test_it_is_not_continued_by_another_sample_and_says_why(folder: Path, sweep: Sweep) -> None:
    path = folder / "runs/s/journal.sqlite3"
    before = path.read_bytes()
    code, output = sweep("./old_space.py", "--name", "s")
    assert code == 2
    assert 'sample is "first_documents" there, "stretches" here' in output
    assert 'parametrization is "depth_mup" there, "complete_p" here' in output
    assert "It can be read" in output and "--name s-2" in output
    old = 'FIXED = {"parametrization": "depth_mup", "sample": "first_documents",'
    (folder / "old_space.py").write_text(OLD_SPACE.replace("FIXED = {", old))
    code, output = sweep("./old_space.py", "--name", "s")
    assert code == 2
    assert "only older versions took" in output
    assert path.read_bytes() == before


def test_it_is_read_as_it_is(folder: Path, sweep: Sweep) -> None:
    path = folder / "runs/s/journal.sqlite3"
    before = path.read_bytes()
    with Journal.open(path, read_only=True) as journal:
        record, cells = journal.sweep(), journal.cells()
        assert record.axes == ("embedding", "glu_expansion")
        assert record.baseline == cells[0].key == key_of(cells[0].values)
        assert [cell.status for cell in cells] == [
            Status.FINISHED,
            Status.STOPPED,
            Status.INTERRUPTED,
            Status.PENDING,
            Status.PENDING,
        ]
        assert cells[2].former_key == "0e8e3e3defea"
        assert cells[2].values["baseline"]["vocab_size"] == 512
        assert cells[2].config == {
            **{"vocab_size": 512, "context": 32, "d_model": 21, "n_layers": 3, "n_heads": 2},
            **{"head_dim": 6, "d_ff": 85, "embedding": "tied", "attention": "multi_head"},
            "feed_forward": "swiglu",
        }
        assert cells[2].solved is not None
        assert [Cell.from_values(cell.values).key for cell in cells] == [cell.key for cell in cells]
        assert [Cell.from_values(cell.values).former_key for cell in cells] == [
            cell.former_key for cell in cells
        ]
        assert cells[2].baseline_config == cells[0].config
        (checkpoint,) = (folder / "runs/s/checkpoints").rglob("*.pt")
        loaded = load(checkpoint, baseline=cells[2].solved.baseline)
        assert loaded.config.values() == ModelConfig(**cells[2].config).values()
        assert (loaded.tokens, loaded.model.scales.logits) == (8_192, 20 / 21)
        assert [one.rule for one in journal.decisions()][:3] == [
            "asha-stop",
            "asha-stop",
            "completed",
        ]
    code, output = sweep("status", "s")
    assert code == 0, output
    assert "tied × 2.66" in output
    code, output = sweep("report", "s")
    assert code == 0, output
    assert "d_model" in (folder / "runs/s/results.csv").read_text("utf-8")
    assert path.read_bytes() == before


def test_it_stays_as_it_is_where_another_sweep_is_asked_for(folder: Path, sweep: Sweep) -> None:
    path = folder / "runs/s/journal.sqlite3"
    before = path.read_bytes()
    code, output = sweep("./old_space.py", "--name", "s", "--tokens", "40k")
    assert code == 2, output
    assert "was begun by an older version (tokens is 20480 there, 40000 here" in output
    assert path.read_bytes() == before
    assert not path.with_name("journal.sqlite3.v2").exists()


def test_a_space_with_names_of_its_time_is_told_the_new_ones(folder: Path, sweep: Sweep) -> None:
    (folder / "old_space.py").write_text(OLD_SPACE.replace('"embedding"', '"output_head"'))
    code, output = sweep("./old_space.py", "--name", "s")
    assert code == 2, output
    assert "unknown setting 'output_head'; it is now called 'embedding'" in output
