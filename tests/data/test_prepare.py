"""The cache: what is built once, what is built again, and what is never used."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

import data.prepare
from data.cache import default_cache
from data.errors import CorpusError, DamagedCorpusError
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec

VOCABULARY = 280
TOKENIZER = TokenizerSpec(vocab_size=VOCABULARY)


@pytest.fixture
def builds(monkeypatch) -> list[Path]:
    """The folders that were built, one entry a build."""
    built: list[Path] = []
    build = data.prepare._build

    def counted(*arguments) -> None:
        built.append(arguments[3])
        build(*arguments)

    monkeypatch.setattr(data.prepare, "_build", counted)
    return built


def leftovers(cache: Path) -> list[str]:
    """What is in a cache besides prepared corpora and locks."""
    return [path.name for path in cache.iterdir() if path.suffix not in ("", ".lock")]


class TestCaching:
    def test_the_second_time_nothing_is_built(self, stories, tmp_path, builds) -> None:
        first = prepare(str(stories), TOKENIZER, cache=tmp_path / "cache")
        again = prepare(str(stories), TOKENIZER, cache=tmp_path / "cache")
        assert again == first
        assert len(builds) == 1

    def test_a_copy_elsewhere_is_the_same_corpus(self, stories, tmp_path, builds) -> None:
        copy = tmp_path / "copy.jsonl"
        copy.write_bytes(stories.read_bytes())
        for path in (stories, copy):
            prepare(str(path), TOKENIZER, cache=tmp_path / "cache")
        assert len(builds) == 1

    def test_other_content_or_vocabulary_is_another_corpus(self, stories, tmp_path, builds) -> None:
        cache = tmp_path / "cache"
        folders = {prepare(str(stories), TOKENIZER, cache=cache).folder}
        folders.add(
            prepare(str(stories), TokenizerSpec(vocab_size=VOCABULARY + 1), cache=cache).folder
        )
        with stories.open("a") as file:
            file.write('{"text": "one more"}\n')
        folders.add(prepare(str(stories), TOKENIZER, cache=cache).folder)
        assert len(folders) == len(builds) == 3

    def test_two_builds_are_equal_byte_for_byte(self, stories, tmp_path) -> None:
        manifests = [
            prepare(str(stories), TOKENIZER, cache=tmp_path / name).manifest
            for name in ("one", "two")
        ]
        assert manifests[0] == manifests[1]

    def test_only_finished_files_are_left(self, stories, tmp_path) -> None:
        corpus = prepare(str(stories), TOKENIZER, cache=tmp_path / "cache")
        assert leftovers(tmp_path / "cache") == []
        names = {path.name for path in corpus.folder.iterdir()}
        assert names == {*corpus.manifest.files, "manifest.json"}

    def test_the_environment_names_the_cache(self, monkeypatch, tmp_path) -> None:
        monkeypatch.setenv("STELLUX_CACHE", str(tmp_path))
        assert default_cache() == tmp_path
        monkeypatch.delenv("STELLUX_CACHE")
        assert default_cache() == Path.home() / ".cache" / "stellux"

    def test_without_a_home_folder_it_says_what_to_set(self, monkeypatch) -> None:
        def home() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.delenv("STELLUX_CACHE", raising=False)
        monkeypatch.setattr(Path, "home", home)
        with pytest.raises(CorpusError, match="no home folder; set STELLUX_CACHE"):
            default_cache()

    def test_progress_is_reported_to_the_end_of_each_stage(self, stories, tmp_path) -> None:
        reports: dict[str, tuple[int, int]] = {}

        def report(stage: str, done: int, total: int) -> None:
            reports[stage] = (done, total)

        prepare(str(stories), TOKENIZER, cache=tmp_path / "cache", report=report)
        assert {"read", "train the tokenizer", "encode train"} <= set(reports)
        assert all(done == total for done, total in reports.values())

    def test_a_corpus_that_changes_while_it_is_read(self, stories, tmp_path) -> None:
        def report(stage: str, done: int, total: int) -> None:
            if stage == "read":
                with stories.open("a") as file:
                    file.write('{"text": "written meanwhile"}\n')

        with pytest.raises(CorpusError, match="changed while it was read"):
            prepare(str(stories), TOKENIZER, cache=tmp_path / "cache", report=report)
        assert leftovers(tmp_path / "cache") == []


class TestMistakes:
    @pytest.mark.parametrize("same", [(), ("train", "dev"), ("train", "dev", "test")])
    def test_two_splits_of_the_same_text_are_told_each_time(
        self, tmp_path, story, caplog, same
    ) -> None:
        for number, name in enumerate(("train", "dev", "test")):
            first = 0 if name in same else 100 * number
            texts = [story(first + n) for n in range(40)]
            (tmp_path / f"{name}.txt").write_text("\n\n".join(texts))
        for _ in range(2):
            caplog.clear()
            prepare(str(tmp_path), TOKENIZER, cache=tmp_path / "cache")
            told = [record.getMessage() for record in caplog.records]
            assert len(told) == len(same) * (len(same) - 1) // 2
            assert all("are the same text" in message for message in told)


class TestDamage:
    @pytest.fixture
    def corpus(self, stories, tmp_path) -> PreparedCorpus:
        return prepare(str(stories), TOKENIZER, cache=tmp_path / "cache")

    @pytest.fixture(params=["truncated", "missing", "manifest cut off", "another format"])
    def damaged(self, request, corpus) -> PreparedCorpus:
        manifest = corpus.folder / "manifest.json"
        match request.param:
            case "truncated":
                os.truncate(corpus.folder / "train.tokens.npy", 200)
            case "missing":
                (corpus.folder / "dev.offsets.npy").unlink()
            case "manifest cut off":
                os.truncate(manifest, 300)
            case "another format":
                text = manifest.read_text()
                manifest.write_text(text.replace('"format_version": 4', '"format_version": 0'))
        return corpus

    def test_it_is_refused_when_opened(self, damaged) -> None:
        with pytest.raises(DamagedCorpusError, match=r"python -m data\.prepare"):
            PreparedCorpus.open(damaged.folder)

    def test_it_is_built_again_when_prepared(self, damaged, stories, builds, caplog) -> None:
        again = prepare(str(stories), TOKENIZER, cache=damaged.folder.parent)
        assert again.manifest == damaged.manifest
        assert len(builds) == 1
        assert "damaged; building it again" in caplog.text

    def test_altered_bytes_are_found_by_prepare(
        self, corpus, stories, tmp_path, builds, caplog
    ) -> None:
        path = corpus.folder / "test.tokens.npy"
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        PreparedCorpus.open(corpus.folder)  # checks sizes only
        prepare(str(stories), TOKENIZER, cache=tmp_path / "cache")
        assert path.read_bytes() == content
        assert "altered" in caplog.text

    def test_a_manifest_that_says_more_or_less_is_read(self, corpus, stories, builds) -> None:
        path = corpus.folder / "manifest.json"
        values = json.loads(path.read_text())
        del values["null_documents"]
        path.write_text(json.dumps(values | {"of_a_later_version": 7}))
        assert PreparedCorpus.open(corpus.folder).manifest == corpus.manifest
        builds.clear()
        prepare(str(stories), TOKENIZER, cache=corpus.folder.parent)
        assert builds == []

    def test_any_other_folder_is_no_corpus(self, tmp_path) -> None:
        with pytest.raises(DamagedCorpusError, match="is not a prepared corpus"):
            PreparedCorpus.open(tmp_path)


class TestProcesses:
    def test_two_at_once_build_once_and_the_second_says_that_it_waits(
        self, stories, tmp_path, builds, caplog
    ) -> None:
        cache = tmp_path / "cache"
        waiting = threading.Event()
        results: list[PreparedCorpus] = []

        def second_report(stage: str, done: int, total: int) -> None:
            if "wait" in stage:
                waiting.set()

        def second() -> None:
            results.append(prepare(str(stories), TOKENIZER, cache=cache, report=second_report))

        thread = threading.Thread(target=second)

        def first_report(stage: str, done: int, total: int) -> None:
            if stage == "read" and not waiting.is_set():
                thread.start()
                assert waiting.wait(30)

        results.append(prepare(str(stories), TOKENIZER, cache=cache, report=first_report))
        thread.join()
        assert results[0] == results[1]
        assert len(builds) == 1
        assert "waiting for it" in caplog.text

    def test_a_process_waits_for_another_process(self, stories, tmp_path) -> None:
        cache = tmp_path / "cache"
        folder = prepare(str(stories), TOKENIZER, cache=cache).folder
        (folder / "manifest.json").unlink()  # so that it has to build
        command = [sys.executable, "-m", "data.prepare", str(stories), "--cache", str(cache)]
        with FileLock(f"{folder}.lock"):
            other = subprocess.Popen(
                [*command, "--vocab-size", str(VOCABULARY)],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert other.stderr is not None
            assert "waiting for it" in other.stderr.readline()
            assert other.poll() is None
        other.communicate(timeout=60)
        assert other.returncode == 0
        assert (folder / "manifest.json").exists()

    def test_what_a_killed_process_leaves_is_not_used_and_is_removed(
        self, stories, tmp_path
    ) -> None:
        cache = tmp_path / "cache"
        process = subprocess.Popen(
            [sys.executable, "-m", "data.prepare", "stdlib", "--cache", str(cache)],
            cwd=Path(__file__).parents[2],
        )
        deadline = time.monotonic() + 60
        while not list(cache.glob("*-partial/train.text")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(leftovers(cache)) == 1
        assert not list(cache.glob("*/manifest.json"))
        prepare(str(stories), TOKENIZER, cache=cache)
        assert leftovers(cache) == []

    def test_other_folders_in_the_cache_are_nobodys_leftovers(self, stories, tmp_path) -> None:
        download = tmp_path / "cache" / "film.partial"
        download.mkdir(parents=True)
        prepare(str(stories), TOKENIZER, cache=tmp_path / "cache")
        assert download.is_dir()

    def test_what_a_living_process_builds_is_left_alone(self, stories, tmp_path) -> None:
        cache = tmp_path / "cache"
        (cache / "v1-other.stellux-partial").mkdir(parents=True)
        with FileLock(cache / "v1-other.lock"):
            prepare(str(stories), TOKENIZER, cache=cache)
        assert leftovers(cache) == ["v1-other.stellux-partial"]


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class TestStorage:
    @pytest.mark.parametrize("free", [0, 100_000, 300_000, 480_000])
    def test_a_full_disk(self, small_disk, tmp_path, story, free) -> None:
        corpus = tmp_path / "a.txt"
        corpus.write_text("\n\n".join(story(i) for i in range(900)))
        (small_disk / "other data").write_bytes(bytes(512 * 1024 - free))
        with pytest.raises(CorpusError) as caught:
            prepare(str(corpus), TokenizerSpec(vocab_size=300), cache=small_disk / "cache")
        assert "no space left" in str(caught.value)
        assert "STELLUX_CACHE" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not list(small_disk.glob("cache/*/*"))
        (small_disk / "other data").unlink()

    def test_a_cache_that_cannot_be_written(self, stories, tmp_path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(CorpusError, match=r"cannot use .*STELLUX_CACHE"):
            prepare(str(stories), TOKENIZER, cache=tmp_path / "file" / "cache")


class TestCommand:
    def test_the_table_and_the_manifest(self, stories, run_prepare) -> None:
        table = run_prepare(str(stories), "--vocabulary", "280")
        assert table.returncode == 0
        assert table.stderr == ""  # no progress where the output is no terminal
        assert "byte_level_bpe-280" in table.stdout
        assert all(split in table.stdout for split in ("train", "dev", "test"))
        as_json = run_prepare(str(stories), "--vocabulary", "280", "--json")
        manifest = json.loads(as_json.stdout)
        assert manifest["tokenizer"] == {"kind": "byte_level_bpe", "vocab_size": 280, "options": {}}
        assert manifest["files"]["tokenizer.json"]["sha256"] == manifest["tokenizer_sha256"]

    @pytest.mark.parametrize("name", ["[/red]", "[old]", "[bold]x"])
    def test_brackets_in_a_name_are_no_markup(self, stories, tmp_path, run_prepare, name) -> None:
        (tmp_path / name).mkdir(parents=True)
        path = stories.rename(tmp_path / name / "a.jsonl")
        result = run_prepare(str(path), "--vocab-size", "280", COLUMNS="300")
        assert result.returncode == 0, result.stderr
        assert str(path) in result.stdout

    def test_a_tokenizer_from_elsewhere(self, stories, tmp_path, run_prepare) -> None:
        own = json.loads(run_prepare(str(stories), "--vocab-size", "280", "--json").stdout)
        (file,) = (tmp_path / "cache").glob("*/tokenizer.json")
        result = run_prepare(
            *(str(stories), "--vocab-size", "280", "--tokenizer", str(file), "--json")
        )
        manifest = json.loads(result.stdout)
        assert manifest["tokenizer"]["kind"] == "imported"
        assert manifest["tokenizer"]["options"]["sha256"] == own["tokenizer_sha256"]
        assert manifest["splits"] == own["splits"]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["stdlibb"], "did you mean stdlib?"),
            (["nothing.txt"], "nothing.txt does not exist"),
            (["./" + "x" * 300 + ".txt"], "File name too long"),
            (["stories.jsonl", "--tokenizer", "bpe"], "expected one of byte_level_bpe, superbpe"),
            (["stories.jsonl", "--tokenizer", "no.json"], "no.json cannot be read"),
            (["stories.jsonl", "--vocabulary", "256"], "at least 257"),
            (["stories.jsonl", "--vocab-size", "60k"], "supports a vocabulary of"),
            (["stories.jsonl", "--vocabulary", "60000"], "supports a vocabulary of"),
        ],
    )
    def test_a_mistake_is_one_line_and_code_2(
        self, stories, tmp_path, run_prepare, arguments, words
    ) -> None:
        result = run_prepare(*arguments)
        assert result.returncode == 2
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert words in result.stderr
        assert not list(tmp_path.glob("cache/*/*"))

    def test_ctrl_c(self, tmp_path) -> None:
        cache = tmp_path / "cache"
        process = subprocess.Popen(
            [sys.executable, "-m", "data.prepare", "stdlib", "--cache", str(cache)],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
            # Whoever runs the tests in the background may have had it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        while not list(cache.glob("*-partial/train.text")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
        assert process.returncode == 130
        assert "interrupted" in stderr
        assert leftovers(cache) == []


def test_real_reviews(shared_data, tmp_path) -> None:
    """All that are evaluated on; a few hundred are enough to train on."""
    reviews = tmp_path / "reviews"
    reviews.mkdir()
    for split, most in (("train", 300), ("valid", None), ("test", None)):
        name = f"{split}.jsonl"
        lines = (shared_data / "movie-reviews" / name).read_text("utf-8").splitlines(keepends=True)
        (reviews / name).write_text("".join(lines[:most]), "utf-8")
    corpus = prepare(str(reviews), TokenizerSpec(vocab_size=1_000), cache=tmp_path / "cache")
    splits = corpus.manifest.splits
    assert {name: split.documents for name, split in splits.items()} == {
        "train": 300,
        "dev": 100,
        "test": 100,
    }
    split, tokenizer = corpus.split("dev"), corpus.tokenizer()
    lines = (shared_data / "movie-reviews" / "valid.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {json.loads(line)["text"] for line in lines}
    for document in random.Random(0).sample(range(100), 10):
        start, end = split.document_offsets[document : document + 2]
        assert tokenizer.decode(split.tokens[start + 1 : end].tolist()) in texts
