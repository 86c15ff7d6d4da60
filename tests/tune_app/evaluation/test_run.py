"""An evaluation is recorded once, named where it is contaminated, and written with its schema."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from data.prepare import prepare
from data.tokenizers.spec import TokenizerSpec
from tests.tune_app.evaluation.test_exporting import known_numbers, numbers, run
from tests.tune_app.journals import make_journal
from tests.tune_app.untrained import TEXT, VOCABULARY, untrained
from tune_app import evaluate
from tune_app.evaluation import model_card as cards
from tune_app.evaluation import run as running
from tune_app.evaluation import suites
from tune_app.evaluation.choice import ChosenCell
from tune_app.evaluation.exporting import write_export
from tune_app.evaluation.fields import EVALUATION_FIELDS, schema
from tune_app.evaluation.recording import LOCK
from tune_app.journal.journal import Journal
from tune_app.journal.records import Status
from tune_app.results.columns import of_results
from tune_app.results.evaluated import HEADLINES
from tune_app.results.mirrors.tensorboard import write_tensorboard
from tune_app.results.plots.by_cost import cost_plot, costs_of
from tune_app.results.summary import summarise
from tune_app.results.tables import cell_rows

PLANTED = "people watch it in the evening with friends again"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One sweep of untrained models on a corpus of a few lines; `data` has a task and a text."""
    with make_journal(tmp_path / "runs/quick/journal.sqlite3") as journal:
        for cell in journal.cells():
            journal.keep(cell.key, f"checkpoints/{cell.key}/1-0.pt")
    folder = tmp_path / "corpus"
    folder.mkdir()
    texts = {"train": [TEXT, "the cinema"], "valid": [TEXT, "a film"], "test": ["it is the film"]}
    for split, documents in texts.items():
        lines = [json.dumps({"text": text}) + "\n" for text in documents]
        (folder / f"{split}.jsonl").write_text("".join(lines))
    corpus = prepare(
        str(folder), TokenizerSpec(vocab_size=VOCABULARY - 8), cache=tmp_path / "cache"
    )
    monkeypatch.setattr(ChosenCell, "load", lambda *_, **__: untrained())
    monkeypatch.setattr(running, "_corpus", lambda *_: corpus)
    monkeypatch.setattr(suites, "LATENCY_RUNS", 5)
    data = tmp_path / "data"
    data.mkdir()
    (data / "sst2_validation.tsv").write_text(
        f"sentence\tlabel\n{PLANTED}\t1\na film that is nowhere else to be seen\t0\n"
    )
    (data / "novel.txt").write_text("It is a night.\n\nThe film is a film.\n")
    return tmp_path / "runs"


def test_each_split_is_scored_once_and_all_of_it_is_written(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.parent / "data"
    wanted = ["--suite", "language_modelling", "--suite", "small_bench"]
    wanted += ["--suite", str(data / "novel.txt"), "--suite", "latency", "--suite", "throughput"]
    arguments = ["quick", *wanted, "--data", str(data), "--results", str(runs)]
    assert run(evaluate, *arguments) == 0
    assert "sst2, validation: accuracy" in capsys.readouterr().out
    (folder,) = (runs / "quick/evaluations").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema())
    assert list(validator.iter_errors(metrics)) == []
    assert json.loads((folder / "metrics.schema.json").read_text()) == schema()
    found = {(one["suite"], one["split"]): one["metrics"] for one in metrics["evaluations"]}
    assert [*found] == [
        *(("language_modelling", split) for split in ("train", "dev", "test")),
        ("sst2", "validation"),
        ("novel", "all"),
        ("latency", "16 tokens"),
        ("throughput", "16 sequences"),
    ]
    assert found["throughput", "16 sequences"]["tokens_per_second"] > 0
    # Named are the planted sentence, and the document that dev has in common with train.
    lines = (folder / "contaminated.jsonl").read_text().splitlines()
    assert [(one["suite"], one["example"]) for one in map(json.loads, lines)] == [
        ("language_modelling", f"document {_place_of_text(folder)}"),
        ("sst2", "line 2"),
    ]
    assert found["sst2", "validation"]["contaminated"] == 1
    assert found["sst2", "validation"]["clean_accuracy"] in (0, 1)
    assert "contaminated" not in found["language_modelling", "train"]
    with Journal.open(runs / "quick/journal.sqlite3", read_only=True) as journal:
        (score,) = journal.scores()
        assert score.bits_per_byte == found["language_modelling", "test"]["bits_per_byte"]
        first = journal.evaluations()
    assert run(evaluate, *arguments) == 0
    assert capsys.readouterr().out.count("recorded already, and scored once") == 7
    with Journal.open(runs / "quick/journal.sqlite3", read_only=True) as journal:
        assert journal.evaluations() == first
        results = summarise(journal)
        write_tensorboard(journal, tmp_path / "tensorboard")
        (rated,) = (result.cell for result in results.cells if result.evaluations)
    # The tables, the plots and TensorBoard have them too.
    (row,) = (row for row in cell_rows(results) if row["cell"] == rated.key)
    assert row["eval_sst2_validation_accuracy"] == found["sst2", "validation"]["accuracy"]
    shown = [name for name in row if name.startswith("eval_")]
    assert all(of_results(name).meaning and of_results(name).unit for name in shown)
    assert [cost.name for cost in costs_of(results)] == ["seconds", "flops", "latency", "memory"]
    assert all(cost_plot(results, cost).figure for cost in costs_of(results)[2:])
    events = b"".join(one.read_bytes() for one in (tmp_path / "tensorboard").rglob("events*"))
    assert b"evaluation/sst2/validation/accuracy" in events
    for name, headline in HEADLINES.items():
        assert EVALUATION_FIELDS[name].unit == headline.unit
    summary = (folder / "summary.md").read_text()
    template = Path(cards.__file__).with_name("summary.md.jinja").read_text()
    fixed = numbers(re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", template))
    assert numbers(summary) - known_numbers(metrics) - fixed == set()
    assert "None" not in summary and "nan" not in summary
    assert len((folder / "contaminated.jsonl").read_text().splitlines()) == 2


def _place_of_text(folder: Path) -> int:
    rows = pq.read_table(folder / "language_modelling-dev.parquet").to_pylist()
    (place,) = (row["document"] for row in rows if row["contaminated"])
    assert rows[place]["text_bytes"] == len(TEXT)
    return int(place)


def test_an_evaluation_that_was_cut_off_loses_nothing(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut off while files are written, by a full disk for one, or between suites."""
    data = runs.parent / "data"
    given = ["quick", "--suite", "sst2", "--suite", str(data / "novel.txt"), "--data", str(data)]
    given += ["--results", str(runs)]

    def recorded() -> list[str]:
        with Journal.open(runs / "quick/journal.sqlite3", read_only=True) as journal:
            return [one.suite for one in journal.evaluations()]

    def full(folder: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    with monkeypatch.context() as patched:
        patched.setattr(running, "write_contaminated", full)
        assert run(evaluate, *given) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert recorded() == []
    with monkeypatch.context() as patched, pytest.raises(KeyError):
        patched.setattr(running, "_tell", _Once())
        run(evaluate, *given)
    assert recorded() == ["sst2"]
    (folder,) = (runs / "quick/evaluations").iterdir()
    assert len((folder / "contaminated.jsonl").read_text().splitlines()) == 1
    with FileLock(folder / LOCK):
        assert run(evaluate, *given) == 2
    assert "another process writes evaluations into" in capsys.readouterr().err.replace("\n", " ")
    assert run(evaluate, *given) == 0
    assert recorded() == ["sst2", "novel"]
    assert (folder / "sst2-validation.parquet").is_file() and (folder / "metrics.json").is_file()


class _Once:
    """Tells of one result, and then fails like a process that is killed."""

    def __init__(self) -> None:
        self.told = False

    def __call__(self, *_: object) -> None:
        if self.told:
            raise KeyError
        self.told = True


def test_an_export_is_evaluated_without_a_journal(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_export(untrained(), tmp_path / "one", source={}, documents={})
    novel = str(tmp_path / "data/novel.txt")
    given = [str(tmp_path / "one"), "--to", str(tmp_path / "to")]
    assert run(evaluate, *given, "--suite", novel) == 0
    (found,) = json.loads((tmp_path / "to/evaluations.json").read_text())
    assert (found["suite"], found["metrics"]["documents"]) == ("novel", 2)
    assert found["notes"]["contamination"].startswith("not checked")
    assert run(evaluate, *given) == 2
    assert "needs the corpus of the training" in capsys.readouterr().err


def test_a_cell_that_did_not_finish_is_not_scored_on_the_test_split(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(evaluate, "quick", "--cell", "45% × 4.0", "--results", str(runs)) == 2
    assert "has no cell" in capsys.readouterr().err
    with Journal.open(runs / "quick/journal.sqlite3", read_only=True) as journal:
        (stopped, *_) = (one for one in journal.cells() if one.status is Status.STOPPED)
    assert run(evaluate, "quick", "--cell", stopped.key, "--results", str(runs)) == 0
    assert "test: not scored, as the cell has not finished" in capsys.readouterr().out
    with Journal.open(runs / "quick/journal.sqlite3", read_only=True) as journal:
        assert [one.split for one in journal.evaluations()] == ["train", "dev"]
        assert journal.scores() == []


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("mmlu", "there is no suite 'mmlu'; expected one of language_modelling"),
        ("rte", "has no file for rte"),
        ("gsm8k", "has no gsm8k_test.jsonl"),
        ("./gone.txt", "does not exist"),
    ],
)
def test_a_suite_that_is_not_there_is_refused(
    runs: Path, suite: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["quick", "--suite", suite, "--data", str(runs.parent / "data")]
    assert run(evaluate, *given, "--results", str(runs)) == 2
    assert message in capsys.readouterr().err.replace("\n", "")
    assert not (runs / "quick/evaluations").exists()
