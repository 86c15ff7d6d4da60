"""SmallBench: four classification tasks that a small language model may be tried on.

SST-2 (Socher et al., 2013), RTE (Dagan et al., 2006; GLUE), BoolQ (Clark et al., 2019) and MRPC
(Dolan and Brockett, 2005), from their published TSV or JSONL files. Each example is made into a
prompt that a label's word completes. A task is an entry in TASKS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

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


def read_task(name: str, path: Path) -> Task:
    """A task from its published file. Raises TaskError for a file that is something else."""
    form, rows = TASKS[name], read_rows(path)
    split = _SPLIT.search(path.name.lower().removeprefix(name))
    return Task(
        name=name,
        split=split.group() if split else "all",
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
            f"{rows.path}, {row.name}: the label is {label!r}; expected one of "
            f"{', '.join(form.labels)} (test sets without labels cannot be scored)"
        )
    return Example(
        name=row.name,
        prompt=form.prompt(*texts),
        answers=form.answers,
        label=form.labels[label.lower()],
        texts=texts,
    )
