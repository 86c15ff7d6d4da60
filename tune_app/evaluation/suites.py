"""What a model is evaluated on: text and tasks, found by the names that a user gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from tokenizers import Tokenizer

from data.prepared import PackedSplit, PreparedCorpus
from data.splits import SplitName
from data.tasks.base import Task, TaskError
from data.tasks.domains import PUBLISHED, Domain, read_published, read_text
from data.tasks.packed import pack_documents
from data.tasks.small_bench import TASKS, hub_task, read_task
from data.tokenizers.base import class_of
from tune_app.evaluation.suite_names import (
    LANGUAGE,
    LATENCY,
    SMALL_BENCH,
    THROUGHPUT,
    data_folder,
    refuse_unknown_suite,
    task_files,
)
from tune_app.portable.text_model import TextModel

LENGTHS = (128, 512)
"""Tokens of the prompts whose latency is measured, where the context allows."""
LATENCY_RUNS = 1_000
"""Enough for a 99th percentile."""
THROUGHPUT_BATCH = 16
"""Sequences."""
THROUGHPUT_RUNS = 10
TRAIN_SAMPLE_BYTES = 262_144
_DECODED_AT_ONCE = 256
"""Documents."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextSuite:
    """Documents to be scored in bits per byte."""

    name: str
    split: str
    source: str
    packed: PackedSplit
    tokenizer: Tokenizer = field(repr=False)
    first: int | None = None
    """How many documents are scored; None for all."""
    is_training_text: bool = False

    def units(self) -> list[tuple[str, ...]]:
        """The text of each document."""
        return [(text,) for text in texts_of(self.packed, self.tokenizer, first=self.first)]


@dataclass(frozen=True, kw_only=True)
class TaskSuite:
    """Examples with answers."""

    task: Task

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def split(self) -> str:
        return self.task.split

    @property
    def source(self) -> str:
        return self.task.source

    def units(self) -> list[tuple[str, ...]]:
        """The texts of each example."""
        return [example.texts for example in self.task.examples]


@dataclass(frozen=True, kw_only=True)
class LatencySuite:
    """The time of a prompt and of the token behind it."""

    length: int
    """Tokens of the prompt."""
    runs: int
    name: str = LATENCY
    source: str = "tokens in a row; their values do not matter"

    @property
    def split(self) -> str:
        return f"{self.length} tokens"

    def units(self) -> list[tuple[str, ...]]:
        """None: there is no text."""
        return []


@dataclass(frozen=True, kw_only=True)
class ThroughputSuite:
    """The tokens that are scored in a second, and the memory for that."""

    batch_size: int
    runs: int
    name: str = THROUGHPUT
    source: str = "tokens in a row; their values do not matter"

    @property
    def split(self) -> str:
        return f"{self.batch_size} sequences"

    def units(self) -> list[tuple[str, ...]]:
        """None: there is no text."""
        return []


Suite: TypeAlias = TextSuite | TaskSuite | LatencySuite | ThroughputSuite


def texts_of(
    split: PackedSplit, tokenizer: Tokenizer, *, first: int | None = None
) -> Iterator[str]:
    """The text of the documents of a split, from their tokens."""
    documents = len(split.document_bytes[:first])
    for start in range(0, documents, _DECODED_AT_ONCE):
        places = split.document_offsets[start : min(documents, start + _DECODED_AT_ONCE) + 1]
        tokens = [
            # Without the end-of-text in front.
            split.tokens[begin + 1 : end].tolist()
            for begin, end in zip(places[:-1].tolist(), places[1:].tolist(), strict=True)
        ]
        yield from tokenizer.decode_batch(tokens, skip_special_tokens=False)


def language_suites(corpus: PreparedCorpus) -> list[TextSuite]:
    """The splits of a corpus: dev and test whole, of train a fixed sample."""
    tokenizer = corpus.tokenizer()
    splits: list[SplitName] = ["train", "dev"]
    if corpus.has_test:
        splits.append("test")
    suites = []
    for name in splits:
        packed = corpus.split(name)
        first = None
        source = f"all of {name}"
        if name == "train":
            # Packed in an order that depends on the corpus alone: the first are a fair sample.
            ends = np.cumsum(packed.document_bytes)
            first = max(1, int(np.searchsorted(ends, TRAIN_SAMPLE_BYTES, side="right")))
            source = f"the first {first:,} of {len(ends):,} documents, shuffled"
        suites.append(
            TextSuite(
                name=LANGUAGE,
                split=name,
                source=source,
                packed=packed,
                tokenizer=tokenizer,
                first=first,
                is_training_text=name == "train",
            )
        )
    return suites


def find_suites(
    names: Sequence[str],
    *,
    model: TextModel,
    corpus: PreparedCorpus | None,
    folder: Path | None,
) -> list[Suite]:
    """The suites of these names, each once.

    Args:
        names: LANGUAGE, SMALL_BENCH, a task, a published domain, LATENCY, or a text by path or
            name.
        model: whose tokenizer encodes domains.
        corpus: that it was trained on; None if it is not at hand.
        folder: of published data; None if the user named none: tasks are then read from the hub.

    Raises TaskError for a name that is none of these or data that is not there, CorpusError for a
    text that cannot be read.
    """
    found: dict[tuple[str, str], Suite] = {}
    for name in names:
        for suite in _named(name, model, corpus, folder):
            found.setdefault((suite.name, suite.split), suite)
    return list(found.values())


def _named(
    name: str,
    model: TextModel,
    corpus: PreparedCorpus | None,
    folder: Path | None,
) -> Sequence[Suite]:
    if name == LANGUAGE:
        if corpus is None:
            raise TaskError(
                f"{LANGUAGE} needs the corpus of the training, which only a sweep records; name "
                "the sweep, or a text with --suite"
            )
        return language_suites(corpus)
    if name == LATENCY:
        lengths = [length for length in LENGTHS if length < model.config.context]
        fitting = lengths or [max(1, model.config.context // 2)]
        return [LatencySuite(length=length, runs=LATENCY_RUNS) for length in fitting]
    if name == THROUGHPUT:
        return [ThroughputSuite(batch_size=THROUGHPUT_BATCH, runs=THROUGHPUT_RUNS)]
    if name == SMALL_BENCH or name in TASKS:
        return _tasks(name, folder)
    if name in PUBLISHED:
        return [_domain(read_published(name, data_folder(folder, name)), model)]
    refuse_unknown_suite(name)
    return [_domain(read_text(name), model)]


def _tasks(name: str, folder: Path | None) -> list[TaskSuite]:
    """A task, or all that there are; of the hub, if no folder is named."""
    if folder is None:
        wanted = TASKS if name == SMALL_BENCH else (name,)
        return [TaskSuite(task=hub_task(one)) for one in wanted]
    return [TaskSuite(task=read_task(one, path)) for one, path in task_files(name, folder).items()]


def _domain(domain: Domain, model: TextModel) -> TextSuite:
    return TextSuite(
        name=domain.name,
        split=domain.split,
        source=domain.source,
        packed=pack_documents(
            domain.documents,
            model.tokenizer,
            end_of_text=model.end_of_text,
            cutting=class_of(model.tokenizer_kind).cutting,
        ),
        tokenizer=model.tokenizer,
    )
