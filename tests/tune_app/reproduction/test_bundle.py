"""A bundle is what it says, wherever it is opened; what is not is named, with both values."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.prepare import prepare
from tune_app import verify
from tune_app.command_line import MISTAKE, run_command
from tune_app.journal.journal import Journal
from tune_app.journal.records import COMPLETED, Action, Decision, SweepRecord
from tune_app.plan.cell import Cell
from tune_app.plan.plan import make_plan
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.reproduction.archive import pack, unpacked
from tune_app.reproduction.bundling import sweeps_in, write_bundle
from tune_app.stopping.kill_rule import KillRule
from tune_app.stores.open import open_store
from tune_app.study.file import study_from
from tune_app.study.report import write_report
from tune_app.study.run import read_study
from tune_app.trial.tokenizer_files import keep_tokenizer
from tune_app.trial.trial import Trial


@pytest.fixture(scope="module", autouse=True)
def without_plots() -> Iterator[None]:
    """Drawing takes most of the time, and pictures are checked like other files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tune_app.results.write.draw", lambda _: [])
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, cache: Path) -> Path:
    """The folder of a sweep with one cell, which was trained."""
    sizes = {"target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32}
    lengths = {"tokens": 1_024, "batch_size": 4, "evaluations": 2, "evaluation_bytes": 2_048}
    space = Space(
        name="small",
        axes={"glu_expansion": [2.66]},
        fixed={**sizes, **lengths, "corpus": str(small_corpus)},
    )
    plan = make_plan(space, Wishes())
    (planned,) = plan.cells
    cell = Cell.from_values(planned.values)
    corpus = prepare(str(small_corpus), cell.tokenizer, cache=cache)
    folder = tmp_path_factory.mktemp("runs") / "one"
    record = SweepRecord(
        name="one",
        space="small",
        corpus=plan.corpus,
        corpus_sha256=corpus.manifest.corpus_sha256,
        baseline=plan.baseline.key,
        tokens=plan.tokens,
        seeds=plan.seeds,
        scheduler={"name": "none"},
        kill_rule=KillRule().as_dict(),
        bytes_per_token={cell.tokenizer.key: corpus.bytes_per_token("dev")},
        created_at=1_760_000_000.0,
        command="python -m tune_app.sweep small.py",
        axes=plan.axes,
        versions={"source": "0123456789ab"},
    )
    folder.mkdir()
    with Journal.create(folder / "journal.sqlite3", record, plan.cells) as journal:
        journal.start_attempt(cell.key)
        trial = Trial(cell, corpora=lambda _: corpus)
        while not trial.finished:
            seen = trial.advance()
            assert seen is not None
            end = Decision(
                cell=cell.key,
                tokens=seen.tokens,
                action=Action.FINISH,
                rule=COMPLETED,
                reason="trained all its tokens",
            )
            journal.record(seen, end if trial.finished else None)
        trial.close()
    keep_tokenizer(corpus, open_store(str(folder)))
    return folder


@pytest.fixture(scope="module")
def archive(trained: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STELLUX_CACHE", str(cache))
        done = write_bundle("one", [trained], tmp_path_factory.mktemp("bundles") / "one.zip")
    assert done.warnings == ()
    return done.path


@pytest.fixture
def opened(archive: Path, tmp_path: Path) -> Path:
    with unpacked(archive) as folder:
        shutil.copytree(folder, tmp_path / "one")
    return tmp_path / "one"


def check(path: Path, *options: str) -> int:
    with pytest.raises(SystemExit) as ended:
        # As on the command line; a mistake is returned, not raised.
        sys.exit(run_command(verify.app, verify.MODULE, [str(path), *options]))
    return int(ended.value.code or 0)


def test_it_passes_elsewhere_and_its_cell_trains_as_recorded(
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STELLUX_CACHE", str(cache))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.chdir(tmp_path)
    assert check(archive, "--evaluations", "9", "--tolerance", "0") == 0
    output = capsys.readouterr().out
    assert "tables and reports recomputed from the journal; they are the same" in output
    assert "of 2 evaluations equal bit for bit" in output
    assert list(tmp_path.iterdir()) == [], "it writes nothing"


def digit(folder: Path) -> None:
    report = folder / "sweeps/one/REPORT.md"
    text = report.read_text("utf-8")
    place = text.index("bits per byte, full dev")
    found = next(i for i in range(place, len(text)) if text[i].isdigit())
    report.write_text(f"{text[:found]}{(int(text[found]) + 1) % 10}{text[found + 1 :]}", "utf-8")


def row(folder: Path) -> None:
    connection = sqlite3.connect(folder / "sweeps/one/journal.sqlite3")
    connection.execute("UPDATE attempts SET started_at = started_at + 1")
    connection.commit()
    connection.close()


def byte(folder: Path) -> None:
    (path,) = (folder / "sweeps/one/tokenizers").glob("*/tokenizer.json")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lock(folder: Path) -> None:
    path = folder / "requirements.lock"
    path.write_bytes(path.read_bytes() + b"!")


def gone(folder: Path) -> None:
    (folder / "sweeps/one/tables/ranking.tex").unlink()


def added(folder: Path) -> None:
    (folder / "sweeps/one/more.txt").write_text("?")


def everywhere(folder: Path) -> None:
    """A loss that was changed in the journal and in its text."""
    path = folder / "sweeps/one/journal.sqlite3"
    connection = sqlite3.connect(path)
    (record,) = connection.execute("SELECT record FROM observations").fetchone()
    values = json.loads(record)
    values["metrics"]["train_loss"] *= 1.01
    changed = json.dumps(values)
    connection.execute("UPDATE observations SET record = ? WHERE record = ?", [changed, record])
    connection.commit()
    connection.close()
    from tune_app.reproduction.journal_text import write_journal_text

    write_journal_text(path, folder / "sweeps/one/journal.jsonl")


@pytest.mark.parametrize(
    ("change", "file"),
    [
        (digit, "sweeps/one/REPORT.md: line"),
        (row, "sweeps/one/journal.sqlite3: row"),
        (byte, "sweeps/one/tokenizers/byte_level_bpe-512-"),
        (lock, "requirements.lock"),
        (gone, "sweeps/one/tables/ranking.tex"),
        (added, "sweeps/one/more.txt"),
        (everywhere, "sweeps/one/curves.parquet: train_loss in row 1"),
    ],
)
def test_the_first_difference_is_named_with_both_values(
    opened: Path,
    change: Callable[[Path], None],
    file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(opened)
    assert check(opened, "--without-training") == verify.DIFFERS
    said = capsys.readouterr().err
    assert file in said.splitlines()[0]
    old, new = (line for line in said.splitlines() if line.startswith(("  old", "  new")))
    assert old.partition(":")[2].strip() != new.partition(":")[2].strip()


def test_what_is_cut_off_or_no_bundle_is_a_mistake(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half.zip"
    half.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    assert check(half) == MISTAKE
    assert "half.zip is not a whole bundle" in capsys.readouterr().err
    for other, told in ((tmp_path / "none.zip", "there is no bundle"), (tmp_path, "it has no man")):
        assert check(other) == MISTAKE
        assert told in capsys.readouterr().err


def entry(name: str, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.external_attr = (kind | 0o644) << 16
    return found


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([entry("one/../../evil")], "lies outside of a bundle"),
        ([entry("/etc/evil")], "lies outside of a bundle"),
        ([entry("one\\..\\evil")], "lies outside of a bundle"),
        ([entry("one/link", stat.S_IFLNK)], "a link or a device"),
        ([entry("one/a"), entry("ONE/A")], "twice"),
        ([entry("one/a"), entry("two/a")], "not in one folder"),
        ([entry("one/a"), entry("one/a/b")], "lies in a file"),
    ],
)
def test_a_hostile_archive_is_refused(
    entries: list[zipfile.ZipInfo],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        for one in entries:
            # ZipInfo turns backslashes of a name it is made with into slashes on some systems.
            packed.writestr(one, "../target")
    assert check(tmp_path / "evil.zip") == MISTAKE
    assert told in capsys.readouterr().err


def test_a_bomb_is_refused_by_its_size_and_by_its_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("one/zeros", bytes(1 << 20))
    assert check(path, "--largest", "0.0005") == MISTAKE
    assert "would unpack to 1.0 MiB; the limit is 524 KiB" in capsys.readouterr().err
    # A table of contents that says less than there is.
    content = path.read_bytes().replace((1 << 20).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    path.write_bytes(content)
    assert check(path) == verify.DIFFERS
    assert "damaged in the archive" in capsys.readouterr().err


def test_equal_contents_are_equal_archives(opened: Path, archive: Path, tmp_path: Path) -> None:
    pack(opened, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_what_is_packed_is_named_or_suggested(trained: Path) -> None:
    assert sweeps_in("one", trained.parent) == ("one", [trained])
    assert sweeps_in(str(trained), Path("nowhere")) == ("one", [trained])
    assert sweeps_in(str(trained.parent), Path("nowhere"))[1] == [trained]
    with pytest.raises(ValueError, match=r"there is no sweep 'ones' in .*; did you mean"):
        sweeps_in("ones", trained.parent)


def test_several_sweeps_are_one_bundle_with_what_lies_beside_them(
    trained: Path,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STELLUX_CACHE", str(cache))
    study = tmp_path / "study"
    for phase in ("0-first", "1-second"):
        shutil.copytree(trained, study / phase)
    phases = [{"kind": "baseline", "name": "first"}]
    defined = study_from({"tokens": 1_024, "vocab_size": 512, "phase": phases}, name="study")
    write_report(defined, read_study(defined, study), study)
    (study / "notes.md").write_text("what I think of it")
    (study / "running.json").write_text("{}")
    (study / "secret.pem").write_text("not for others")
    name, folders = sweeps_in("study", tmp_path)
    done = write_bundle(name, folders, tmp_path / "study.zip")
    assert done.sweeps == ("0-first", "1-second")
    with zipfile.ZipFile(done.path) as packed:
        names = packed.namelist()
    assert "study/others/notes.md" in names
    assert not [one for one in names if "secret" in one or "running" in one]
    assert check(done.path, "--sweep", "0-first") == 0
    assert "the verdict and the report of the study recomputed" in capsys.readouterr().out
    for file, old, new in (
        ("REPORT.md", "1 finished", "2 finished"),
        ("verdict.json", '"status": "finished"', '"status": "failed"'),
        ("report.html", "1 finished", "2 finished"),
        ("study.json", '"tokens": 1024', '"space": "/evil.py", "tokens": 1024'),
    ):
        with unpacked(done.path) as folder:
            path = folder / "sweeps" / file
            path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
            assert check(folder, "--without-training") == verify.DIFFERS, file
        assert f"sweeps/{file}" in capsys.readouterr().err.splitlines()[0]
