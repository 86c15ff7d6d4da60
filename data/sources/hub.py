"""Corpora from the Hugging Face hub, through the library `datasets` and its own download cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.documents import Grouping, by_heading
from data.errors import TOKEN_VARIABLE, CorpusError, first_line, listed
from data.sources.base import Document, checked_row
from data.splits import HASHED_AS, SPLIT_ALIASES, SPLITS, SplitName, held_out_by_hash, split_by_hash

if TYPE_CHECKING:
    from datasets import Dataset

_ROWS_A_BATCH = 1_000


@dataclass(frozen=True, kw_only=True)
class HubName:
    """The place of a corpus on the hub."""

    repository: str
    """`owner/name`."""
    configuration: str | None = None
    """A subset named by the repository; None if it has only one."""
    field: str = "text"
    """The column that holds the documents."""


PUBLISHED: dict[str, HubName] = {
    "wikitext-2": HubName(repository="Salesforce/wikitext", configuration="wikitext-2-raw-v1"),
    "wikitext-103": HubName(repository="Salesforce/wikitext", configuration="wikitext-103-raw-v1"),
    "tinystories": HubName(repository="roneneldan/TinyStories"),
}
"""Datasets with a short name."""

ROW_GROUPINGS: dict[str, Grouping] = {"Salesforce/wikitext": by_heading}
"""For repositories whose rows are lines: how they make documents. Elsewhere a row is a document."""


def parse_hub_name(text: str) -> HubName:
    """`owner/name`, `owner/name:configuration` or `owner/name:configuration:field`.

    The configuration may be empty: `owner/name::field`. Raises CorpusError for anything else.
    """
    repository, _, rest = text.partition(":")
    configuration, _, field = rest.partition(":")
    owner, _, name = repository.partition("/")
    if not owner or not name or "/" in name or ":" in field:
        raise CorpusError(
            f"'hf:{text}' does not name a dataset on the hub; write hf:owner/name, "
            "hf:owner/name:configuration, or hf:owner/name:configuration:field"
        )
    return HubName(
        repository=repository, configuration=configuration or None, field=field or HubName.field
    )


class HubDataset:
    """A dataset on the hub. Nothing is fetched until its content is needed."""

    def __init__(self, name: str, place: HubName) -> None:
        self.name = name
        self.place = place

    @property
    def splitting(self) -> str:
        return self._assignment[0]

    @property
    def divisible(self) -> bool:
        return len(self._tables) == 1

    @property
    def grouping(self) -> str:
        return ""

    def content_hash(self) -> str:
        digest = sha256(b"hub\n")
        digest.update(self.place.repository.encode() + b"\n")  # it decides the grouping
        for split, table in self._tables.items():
            digest.update(f"{HASHED_AS[split]} {len(table)}\n".encode())
            for column in self._columns(table):
                for part in _content(column):
                    digest.update(part)
        return digest.hexdigest()

    def documents(self) -> Iterator[Document]:
        _, assign = self._assignment
        grouping = ROW_GROUPINGS.get(self.place.repository)
        for split, table in self._tables.items():
            rows = self._rows(table)
            for text in grouping(row or b"\n" for row in rows) if grouping else rows:
                yield Document(assign(split, text or b""), text)

    @cached_property
    def _tables(self) -> dict[SplitName, Dataset]:
        """The published splits that are used, by our names."""
        found = self._load()
        tables: dict[SplitName, Dataset] = {}
        for name in sorted(found):
            split = SPLIT_ALIASES.get(name)
            if split and split not in tables:
                tables[split] = self._text_column(found[name])
        if not tables:
            raise CorpusError(
                f"{self.name} has no split called train, validation (or dev) or test (it has "
                f"{listed(found)}); use another dataset or configuration"
            )
        return {split: tables[split] for split in SPLITS if split in tables}

    @property
    def _assignment(self) -> tuple[str, Callable[[SplitName, bytes], SplitName]]:
        """How published splits become train, dev and test: in words, and as a function of the
        published split and the text."""
        published = list(self._tables)
        if len(published) == len(SPLITS):
            return "as published", lambda split, text: split
        names = ", ".join(published)
        if "train" in published and len(published) > 1:
            return (
                f"published: {names}; its {published[1]} split halved into dev and test by a hash "
                "of each document",
                lambda split, text: split if split == "train" else held_out_by_hash(text),
            )
        return (
            f"published: {names}; 90/5/5 by a hash of each document",
            lambda split, text: split_by_hash(text),
        )

    def _load(self) -> dict[str, Dataset]:
        # Imported here: it takes seconds, and reads HF_HOME and HF_ENDPOINT while it is imported.
        import datasets  # noqa: PLC0415
        from datasets.exceptions import DatasetNotFoundError  # noqa: PLC0415

        datasets.disable_progress_bars()
        # It retries for half a minute and logs each attempt; the one error below is enough.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        try:
            loaded = datasets.load_dataset(self.place.repository, self.place.configuration)
        except DatasetNotFoundError as error:
            raise CorpusError(
                f"the hub has no dataset {self.place.repository} that may be read {_as_whom()} "
                f"({first_line(error)}); check the name, accept the conditions of a gated set on "
                f"its page and set {TOKEN_VARIABLE} (or log in with `hf auth login`), or use "
                "stdlib or a local file"
            ) from error
        except ConnectionError as error:
            raise CorpusError(
                f"the hub {datasets.config.HF_ENDPOINT} cannot be reached for "
                f"{self.place.repository} ({first_line(error)}); check the network or HF_ENDPOINT, "
                "or use stdlib or a local file"
            ) from error
        except Exception as error:
            # `datasets` and the hub's client raise many kinds; each means that nothing was loaded.
            raise CorpusError(
                f"{self.name} could not be loaded from the hub ({first_line(error)}); write "
                "hf:owner/name:configuration:field, or use stdlib or a local file"
            ) from error
        return dict(loaded)

    def published(self) -> dict[str, Dataset]:
        """The splits with all their columns, by their published names. Raises CorpusError."""
        return self._load()

    def _text_column(self, table: Dataset) -> Dataset:
        field = self.place.field
        if field not in table.column_names:
            raise CorpusError(
                f"{self.name} has no column {field!r} (columns {listed(table.column_names)}); "
                "name the column of the documents: hf:owner/name:configuration:field"
            )
        kind = getattr(table.features[field], "dtype", "no plain value")
        if kind not in ("string", "large_string"):
            raise CorpusError(
                f"{self.name}: the column {field!r} is of type {kind}; it must hold strings"
            )
        return table.select_columns([field]).with_format("arrow")

    def _columns(self, table: Any) -> Iterator[pa.LargeBinaryArray]:
        for batch in table.iter(batch_size=_ROWS_A_BATCH):
            column = batch.column(self.place.field).cast(pa.large_binary())
            yield pa.concat_arrays(column.chunks)

    def _rows(self, table: Any) -> Iterator[bytes | None]:
        row = 0
        for column in self._columns(table):
            for text in column.to_pylist():
                yield checked_row(text, row, self.name, self.place.field)
                row += 1


def _as_whom() -> str:
    has_token = bool(os.environ.get(TOKEN_VARIABLE, "").strip())
    return f"with the {TOKEN_VARIABLE} that is set" if has_token else "without a login"


def _content(column: pa.LargeBinaryArray) -> Iterator[bytes]:
    """The content of an Arrow array of strings, independent of its layout in memory."""
    filled = column.fill_null(b"")
    lengths = pc.binary_length(filled)
    yield np.asarray(lengths, dtype="<i8").tobytes()
    yield b"".join(filled.to_pylist())
