"""SmallBench: four classification tasks that a small language model may be tried on.

SST-2 (Socher et al., 2013), RTE (Dagan et al., 2006; GLUE), BoolQ (Clark et al., 2019) and MRPC
(Dolan and Brockett, 2005), from their published TSV or JSONL files or from the Hugging Face hub.
Each example is made into a prompt that a label's word completes. A task is an entry in TASKS.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.errors import CorpusError, listed
from data.sources.hub import HubDataset, HubName
from data.tasks.base import Example, Task, TaskError
from data.tasks.reading import SUFFIXES, Row, Rows, read_rows

_SPLIT = re.compile(r"(train|validation|valid|dev|test)")


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How a task's rows become examples."""

    columns: tuple[tuple[str, ...], ...]
    """Of its texts; each by the names that published files give it."""
    prompt: Callable[..., str]
    """Of the texts."""
    label: tuple[str, ...]
    """Names of the label's column."""
    answers: tuple[str, ...]
    labels: Mapping[str, int]
    """Label as published → place of its answer."""


TASKS: Mapping[str, _Form] = {
    "sst2": _Form(
        columns=(("sentence",),),
        prompt=lambda sentence: f"Review: {sentence}\nSentiment:",
        label=("label",),
        answers=(" negative", " positive"),
        labels={"0": 0, "1": 1, "negative": 0, "positive": 1},
    ),
    "rte": _Form(
        columns=(("sentence1", "premise"), ("sentence2", "hypothesis")),
        prompt=lambda one, two: f"{one}\nQuestion: {two} True or False?\nAnswer:",
        label=("label",),
        answers=(" True", " False"),
        labels={"0": 0, "1": 1, "entailment": 0, "not_entailment": 1},
    ),
    "boolq": _Form(
        columns=(("passage",), ("question",)),
        prompt=lambda passage, question: f"{passage}\nQuestion: {question}?\nAnswer:",
        label=("answer", "label"),
        answers=(" no", " yes"),
        labels={"false": 0, "true": 1, "0": 0, "1": 1},
    ),
    "mrpc": _Form(
        columns=(("#1 String", "sentence1"), ("#2 String", "sentence2")),
        prompt=lambda one, two: (
            f"Sentence 1: {one}\nSentence 2: {two}\n"
            "Question: Do both sentences mean the same thing?\nAnswer:"
        ),
        label=("Quality", "label"),
        answers=(" no", " yes"),
        labels={"0": 0, "1": 1, "not_equivalent": 0, "equivalent": 1},
    ),
}


ON_THE_HUB: Mapping[str, tuple[HubName, str]] = {
    "sst2": (HubName(repository="stanfordnlp/sst2"), "validation"),
    "rte": (HubName(repository="nyu-mll/glue", configuration="rte"), "validation"),
    "boolq": (HubName(repository="google/boolq"), "validation"),
    "mrpc": (HubName(repository="nyu-mll/glue", configuration="mrpc"), "test"),
}
"""Where each task is published, and the split with labels that it is scored on."""


def read_task(name: str, path: Path) -> Task:
    """A task from its published file. Raises TaskError for a file that is something else."""
    rows = read_rows(path)
    split = _SPLIT.search(path.name.lower().removeprefix(name))
    return _task(name, split.group() if split else "all", rows)


def hub_task(name: str) -> Task:
    """A task from the Hugging Face hub, through `datasets` and its cache.

    Raises TaskError if the hub cannot be reached or has something else.
    """
    place, split = ON_THE_HUB[name]
    told = f"{place.repository}, {split}"
    try:
        published = HubDataset(f"hf:{place.repository}", place).published()
    except CorpusError as error:
        raise TaskError(
            f"{name} could not be read from the hub ({error}); or name a folder with its published "
            "file with --data"
        ) from error
    if split not in published:
        raise TaskError(f"{told}: there is no such split; it has {listed(published)}")
    digest = hashlib.sha256()
    found = []
    for number, values in enumerate(published[split], start=1):
        digest.update(json.dumps(values, sort_keys=True).encode() + b"\n")
        found.append(Row(name=f"row {number}", values=values))
    if not found:
        raise TaskError(f"{told}: it has no example; give a published file with --data")
    rows = Rows(place=told, title=told, sha256=digest.hexdigest(), rows=tuple(found))
    return _task(name, split, rows)


def _task(name: str, split: str, rows: Rows) -> Task:
    form = TASKS[name]
    return Task(
        name=name,
        split=split,
        source=rows.source,
        examples=tuple(_example(form, rows, row) for row in rows.rows),
    )


def find_task(name: str, folder: Path) -> Path | None:
    """The file of a task in a folder or below it: `sst2_validation.tsv`, `SST-2/dev.tsv`.

    None if there is none. Of several, one for validation comes before one for the test.

    Raises TaskError if it cannot be told which is meant.
    """
    found = [path for path in sorted(folder.rglob("*")) if _is_of(name, path, folder)]
    for kind in ("validation", "valid", "dev", "test", ""):
        fitting = [path for path in found if kind in path.name.lower()]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise TaskError(
                f"{folder} has several files for {name} "
                f"({', '.join(str(path.relative_to(folder)) for path in fitting)}); keep one"
            )
    return None


def _is_of(name: str, path: Path, folder: Path) -> bool:
    if not path.name.endswith(SUFFIXES) or not path.is_file():
        return False
    parts = path.relative_to(folder).parts
    return any(_plain(part).startswith(name) for part in parts)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _example(form: _Form, rows: Rows, row: Row) -> Example:
    texts = tuple(rows.text(row, *names).strip() for names in form.columns)
    label = rows.text(row, *form.label).strip()
    if label.lower() not in form.labels:
        raise TaskError(
            f"{rows.place}, {row.name}: the label is {label!r}; expected one of "
            f"{', '.join(form.labels)} (test sets without labels cannot be scored)"
        )
    return Example(
        name=row.name,
        prompt=form.prompt(*texts),
        answers=form.answers,
        label=form.labels[label.lower()],
        texts=texts,
    )
