"""Published files become examples; what is missing or damaged in them is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from data.errors import CorpusError
from data.sources.hub import HubDataset
from data.tasks.base import TaskError
from data.tasks.domains import read_published, read_text
from data.tasks.small_bench import TASKS, find_task, hub_task, read_task


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_published_files_are_read(shared_data: Path) -> None:
    folder = shared_data / "smallbench"
    found = {name: find_task(name, folder) for name in TASKS}
    tasks = {name: read_task(name, path) for name, path in found.items() if path is not None}
    sizes = {name: (task.split, len(task.examples)) for name, task in tasks.items()}
    assert sizes == {
        "sst2": ("validation", 872),
        "rte": ("validation", 277),
        "mrpc": ("test", 1_725),
    }
    first = tasks["sst2"].examples[0]
    assert first.prompt == ("Review: it 's a charming and often affecting journey .\nSentiment:")
    assert first.answers[first.label] == " positive"
    assert tasks["rte"].examples[0].answers[tasks["rte"].examples[0].label] == " False"
    assert (tasks["sst2"].majority, tasks["sst2"].chance) == (444 / 872, 0.5)
    humaneval = read_published("humaneval", shared_data)
    assert (humaneval.split, len(humaneval.documents)) == ("test", 164)
    assert b"numbers" in humaneval.documents[0] and humaneval.documents[0].endswith(b"False\n")
    assert len(read_published("gsm8k", shared_data).documents) == 1_319
    assert len(read_published("wikitext-2", shared_data).documents) > 50


def test_json_lines_and_other_names_are_read(tmp_path: Path) -> None:
    lines = [{"passage": "Water is wet.", "question": "is water wet", "answer": True}]
    text = "\n".join(map(json.dumps, lines)) + "\n\n"
    path = written(tmp_path, "BoolQ/dev.jsonl.gz", gzip.compress(text.encode()))
    assert find_task("boolq", tmp_path) == path
    (example,) = read_task("boolq", path).examples
    assert example.answers[example.label] == " yes"
    assert example.prompt == "Water is wet.\nQuestion: is water wet?\nAnswer:"
    table = 'sentence1\tsentence2\tlabel\na "b\tc\t1\n'
    (example,) = read_task("mrpc", written(tmp_path, "mrpc_test.tsv", table)).examples
    assert example.texts == ('a "b', "c")
    assert find_task("rte", tmp_path) is None
    written(tmp_path, "mrpc2/mrpc_test.jsonl", "{}")
    with pytest.raises(TaskError, match="has several files for mrpc"):
        find_task("mrpc", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no example in it"),
        (b"sentence\tlabel\n", "has no example in it"),
        (b"sentence\n good\n", r"line 2: there is no column 'label'; it has 'sentence'"),
        (b"text\tlabel\ngood\t1\n", "there is no column 'sentence'"),
        (b"sentence\tlabel\ngood\n", "line 2: it has 1 columns, but the header 2"),
        (b"sentence\tlabel\ngood\t-1\n", "the label is '-1'; expected one of 0, 1"),
        (b"sentence\tlabel\n\xe9\t1\n", "is not UTF-8 at byte 15"),
    ],
)
def test_a_file_that_is_no_task_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        read_task("sst2", written(tmp_path, "sst2_validation.tsv", content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gsm8k_test.jsonl", b"{\n", "line 1: it is no JSON"),
        ("gsm8k_test.jsonl", b"[1]\n", "not a JSON object"),
        ("gsm8k_test.jsonl", b'{"question": "a"}\n', "there is no column 'answer'"),
        ("gsm8k_test.jsonl", b'{"question": "a", "answer": [1]}\n', r"'answer' is \[1\]; it must"),
        ("HumanEval.jsonl.gz", gzip.compress(b"{}" * 99, mtime=0)[:20], "is damaged"),
        ("nothing.jsonl", b"{}", "name the folder that has it with --data"),
    ],
)
def test_a_domain_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    written(tmp_path, name, content)
    with pytest.raises(TaskError, match=message):
        read_published("humaneval" if "Human" in name else "gsm8k", tmp_path)


def test_any_text_is_a_domain(tmp_path: Path) -> None:
    path = written(tmp_path, "novel.txt", "It was a day.\n\nIt was a night.\n")
    found = read_text(str(path))
    assert (found.name, found.split) == ("novel", "all")
    assert found.documents == (b"It was a day.", b"It was a night.")
    with pytest.raises(CorpusError, match="is empty"):
        read_text(str(written(tmp_path, "empty.txt", "")))


def test_a_task_is_read_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"sentence1": "It rains.", "sentence2": "It is wet.", "label": 0, "idx": 0},
        {"sentence1": "It rains.", "sentence2": "It is dry.", "label": 1, "idx": 1},
    ]
    monkeypatch.setattr(HubDataset, "published", lambda self: {"validation": rows})
    task = hub_task("rte")
    assert (task.split, [one.label for one in task.examples]) == ("validation", [0, 1])
    assert task.source.startswith("nyu-mll/glue, validation (SHA-256 ")
    assert task.examples[1].prompt.startswith("It rains.\nQuestion: It is dry. True or False?")
    with pytest.raises(TaskError, match="no such split; it has 'validation'"):
        hub_task("mrpc")
    rows[1]["label"] = -1
    with pytest.raises(TaskError, match="row 2: the label is '-1'"):
        hub_task("rte")

    def unreachable(_: HubDataset) -> None:
        raise CorpusError("the hub cannot be reached")

    monkeypatch.setattr(HubDataset, "published", unreachable)
    with pytest.raises(TaskError, match=r"cannot be reached.*name a folder with its published"):
        hub_task("sst2")
