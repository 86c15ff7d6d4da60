"""Text of other domains: what is published for reasoning and code, or any text of the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.corpus import find_corpus
from data.documents import GROUPINGS, grouping_of
from data.errors import reading_explained
from data.sources.base import Source
from data.tasks.base import TaskError
from data.tasks.reading import read_rows


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Documents of one kind."""

    name: str
    split: str
    source: str
    """What was read, for people."""
    documents: tuple[bytes, ...]
    """UTF-8, none of them blank."""


@dataclass(frozen=True, kw_only=True)
class _Published:
    """A data set that is known by name."""

    files: tuple[str, ...]
    """Its file in the folder of published data or below it, by the names that it may have."""
    split: str
    read: Callable[[Path], tuple[str, tuple[bytes, ...]]]
    """A file's name for people, and its documents."""


def _joined(*names: str) -> Callable[[Path], tuple[str, tuple[bytes, ...]]]:
    """Documents from JSON lines, each several fields one after the other."""

    def read(path: Path) -> tuple[str, tuple[bytes, ...]]:
        rows = read_rows(path)
        texts = ("".join(rows.text(row, name) for name in names) for row in rows.rows)
        return rows.source, tuple(text.encode() for text in texts)

    return read


def _questions(path: Path) -> tuple[str, tuple[bytes, ...]]:
    rows = read_rows(path)
    texts = (f"{rows.text(row, 'question')}\n{rows.text(row, 'answer')}" for row in rows.rows)
    return rows.source, tuple(text.encode() for text in texts)


def _text(path: Path) -> tuple[str, tuple[bytes, ...]]:
    with reading_explained(str(path)):
        content = path.read_bytes()
    grouping = GROUPINGS[grouping_of(content)]
    return path.name, tuple(grouping(content.splitlines(keepends=True)))


PUBLISHED: Mapping[str, _Published] = {
    "gsm8k": _Published(
        files=("gsm8k_test.jsonl", "gsm8k/test.jsonl"), split="test", read=_questions
    ),
    "humaneval": _Published(
        files=("HumanEval.jsonl.gz", "HumanEval.jsonl"),
        split="test",
        read=_joined("prompt", "canonical_solution"),
    ),
    "wikitext-2": _Published(
        files=("wikitext-2/test.txt", "wiki.test.tokens"), split="test", read=_text
    ),
}
"""By the name of the suite."""


def read_published(name: str, folder: Path) -> Domain:
    """A known data set from a folder. Raises TaskError if it is not there or unusable."""
    known = PUBLISHED[name]
    for file in known.files:
        for path in sorted(folder.rglob(Path(file).name)):
            if path.match(file):
                source, documents = known.read(path)
                return _domain(name, known.split, source, documents)
    raise TaskError(
        f"{folder} has no {' or '.join(known.files)} for {name}; name the folder that has it "
        "with --data"
    )


def read_text(name: str) -> Domain:
    """A text by path or by the name of a corpus: its test split, else dev; all of a single file.

    Raises CorpusError if there is no such text.
    """
    source: Source = find_corpus(name)
    source.content_hash()  # first: it rejects what is empty or not text
    found: dict[str, list[bytes]] = {}
    for document in source.documents():
        if document.text is not None:
            found.setdefault("all" if source.divisible else document.split, []).append(
                document.text
            )
    for split in ("all", "test", "dev"):
        if split in found:
            return _domain(Path(name).stem or name, split, name, tuple(found[split]))
    raise TaskError(f"{name} has neither a test nor a dev split with text; give a text file")


def _domain(name: str, split: str, source: str, documents: tuple[bytes, ...]) -> Domain:
    kept = tuple(one for one in documents if one.strip())
    if not kept:
        raise TaskError(f"{source} has no text in it; give a file with text")
    return Domain(name=name, split=split, source=source, documents=kept)
