"""Shows the preparation of a corpus: progress while it runs, then a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from data.manifest import Manifest
from data.prepared import PreparedCorpus
from data.progress import BYTES, Report

_SHORT_HASH = 12
_PERCENTILES = ("p5", "p50", "p95", "max")


@contextmanager
def progress_display(console: Console) -> Iterator[Report]:
    """A line for each stage while the block runs; nothing if the console is not a terminal."""
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}", justify="right"),
        TimeRemainingColumn(compact=True),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def report(stage: str, done: int, total: int, unit: str = BYTES) -> None:
            if stage not in tasks:
                _finish(progress, tasks)
                tasks[stage] = progress.add_task(stage, total=None, amount="")
            amount = _amount(done, unit) if done else ""
            progress.update(tasks[stage], completed=done, total=total or None, amount=amount)

        yield report
        _finish(progress, tasks)


def _amount(done: int, unit: str) -> str:
    return f"{done / 1e6:,.1f} MB" if unit == BYTES else f"{done:,} {unit}"


def _finish(progress: Progress, tasks: dict[str, TaskID]) -> None:
    """Marks all stages as done: they run one after another."""
    for task in tasks.values():
        progress.update(task, completed=1, total=1)


def manifest_table(corpus: PreparedCorpus) -> RenderableType:
    """A prepared corpus as a table."""
    manifest = corpus.manifest
    return Group(_properties(corpus), "", _splits(manifest))


def _properties(corpus: PreparedCorpus) -> Table:
    manifest = corpus.manifest
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    # As Text, so that brackets in a name are not read as markup.
    table.add_row("corpus", Text(f"{manifest.corpus}  {manifest.corpus_sha256[:_SHORT_HASH]}"))
    for name, fact in corpus_facts(manifest):
        table.add_row(name, fact)
    table.add_row(
        "tokenizer",
        f"{manifest.tokenizer.key}  {manifest.tokenizer_sha256[:_SHORT_HASH]}",
    )
    table.add_row("packed as", manifest.token_type)
    table.add_row("folder", Text(str(corpus.folder)))
    return table


def corpus_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """What a user must know about how a corpus was read: name and sentence."""
    facts = [("splits", manifest.splitting)]
    if manifest.grouping:
        documents = sum(split.documents for split in manifest.splits.values())
        facts.append(("documents", f"{documents:,}: {manifest.grouping}"))
    left_out = [
        f"{number:,} {kind}"
        for number, kind in ((manifest.null_documents, "null"), (manifest.blank_documents, "blank"))
        if number
    ]
    if left_out:
        facts.append(("left out", f"{' and '.join(left_out)} documents"))
    if "test" not in manifest.splits:
        facts.append(("test", "none, so the leader cannot be checked on unseen text"))
    return facts


def _splits(manifest: Manifest) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        caption="p5 … max: tokens per document",
        caption_justify="right",
    )
    table.add_column("split")
    for heading in ("documents", "text MB", "tokens", "bytes/token"):
        table.add_column(heading, justify="right")
    for key in _PERCENTILES:
        table.add_column(key, justify="right")
    for name, split in manifest.splits.items():
        table.add_row(
            name,
            f"{split.documents:,}",
            f"{split.text_bytes / 1e6:,.2f}",
            f"{split.tokens:,}",
            f"{split.bytes_per_token:.3f}",
            *(f"{split.tokens_per_document[key]:,}" for key in _PERCENTILES),
        )
    return table
