"""Everything comes back from the journal alone, whole, and the same a second time."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.loaded import loaded_by
from tests.tune_app.journals import make_journal
from tune_app.journal.journal import Journal
from tune_app.results.whole_files import replacing
from tune_app.results.write import write_results
from tune_app.terminal.tables import summary

_EQUAL = (
    "results.csv",
    "columns.csv",
    "decisions.jsonl",
    "failures.jsonl",
    "report.html",
    "results.parquet",
    "curves.parquet",
)


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time."""
    monkeypatch.setattr("tune_app.results.write.draw", lambda _: [])


def test_results_are_rebuilt_from_the_journal_alone(tmp_path: Path) -> None:
    make_journal(tmp_path / "journal.sqlite3").close()
    with Journal.open(tmp_path / "journal.sqlite3", read_only=True) as journal:
        paths = write_results(journal, tmp_path)
        first = {name: (tmp_path / name).read_bytes() for name in _EQUAL}
        for path in (*paths.plots, paths.csv, paths.report, paths.optuna):
            path.unlink()
        write_results(journal, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in _EQUAL} == first
    assert sorted(path.name for path in paths.plots) == [
        "by_embedding_ratio.png",
        "by_glu_expansion.png",
        "curves.png",
        "pareto_flops.png",
        "pareto_seconds.png",
        "training.png",
    ]
    assert all(path.is_file() for path in (*paths.plots, paths.optuna))
    assert len(list(paths.tensorboard.iterdir())) == 11
    assert paths.results.leader is not None
    header = paths.csv.read_text("utf-8").partition("\n")[0].split(",")
    with paths.columns.open(encoding="utf-8") as file:
        described = [line["column"] for line in csv.DictReader(file) if line["table"] == "results"]
    assert described == header
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.usefixtures("without_plots")
def test_a_live_sweep_keeps_its_mirrors(tmp_path: Path) -> None:
    axes = {"embedding": ("tied",)}
    with make_journal(tmp_path / "journal.sqlite3", axes=axes) as journal:
        paths = write_results(journal, tmp_path, live=True)
    assert paths.report.is_file()
    assert not paths.optuna.exists() and not paths.tensorboard.exists()


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("earlier")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_half()
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_looking_at_a_sweep_imports_no_library_of_the_results() -> None:
    libraries = ("matplotlib", "optuna", "pyarrow", "tensorboardX", "wandb", "jinja2")
    program = "import tune_app.results, tune_app.results.summary"
    assert loaded_by(program, *libraries, "torch", "ray") == []


@pytest.mark.usefixtures("without_plots")
def test_a_mirror_that_cannot_be_written_does_not_cost_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no room for\nthat")

    monkeypatch.setattr("tune_app.results.write.write_optuna", fail)
    folder = tmp_path / "[/x]"
    with make_journal(tmp_path / "journal.sqlite3", axes={"embedding": ("tied",)}) as journal:
        paths = write_results(journal, folder)
        console = Console(file=io.StringIO(), width=200)
        console.print(summary(journal, folder))
    assert paths.report.is_file() and paths.csv.is_file() and paths.tensorboard.is_dir()
    assert "optuna.sqlite3 could not be written (RuntimeError: no room for that)" in caplog.text
    assert str(folder / "report.html") in console.file.getvalue()  # type: ignore[attr-defined]
