"""The record of a prepared corpus, written last, beside its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import file_digest
from pathlib import Path
from typing import Any

from data.errors import DamagedCorpusError, first_line
from data.splits import NEEDED_SPLITS, SPLITS, SplitName
from data.tokenizers.spec import TokenizerSpec

FORMAT_VERSION = 4
"""Increased whenever the same corpus would give other files: splits, order, tokenizer or layout."""

MANIFEST_FILE = "manifest.json"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One file of a prepared corpus."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """The record of a file as it is now."""
        with path.open("rb") as file:
            return cls(bytes=path.stat().st_size, sha256=file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """One split of a prepared corpus."""

    documents: int
    text_bytes: int
    """UTF-8 bytes of all documents."""
    tokens: int
    """With one end-of-text for each document."""
    tokens_per_document: dict[str, int]
    """Percentiles `p5` … `p95` and `max`, without end-of-text."""
    bytes_per_token: float
    """Bytes of text over tokens of text, without end-of-text."""


@dataclass(frozen=True, kw_only=True)
class DomainRecord:
    """One of the corpora that a mixed one consists of."""

    corpus: str
    """The name it was first prepared under."""
    documents: dict[SplitName, int]
    """Of each split. Domains lie one behind the other."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about a prepared corpus except its tokens."""

    format_version: int
    corpus: str
    """The name it was first prepared under."""
    corpus_sha256: str
    splitting: str
    grouping: str
    """How text was split into documents, for people; empty if the corpus leaves no choice."""
    tokenizer: TokenizerSpec
    end_of_text: int
    tokenizer_sha256: str
    token_type: str
    """`uint16` or `uint32`."""
    splits: dict[SplitName, SplitRecord]
    """Train, dev and, if the corpus has one, test."""
    files: dict[str, FileRecord]
    null_documents: int = 0
    """Rows without a value, which were left out."""
    blank_documents: int = 0
    """Rows with nothing but white space, which were left out."""
    domains: tuple[DomainRecord, ...] = ()
    """Of a mixed corpus, in its order; empty for a plain one."""

    def as_json(self) -> str:
        """For a file or another program."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder. Raises DamagedCorpusError if it cannot be used."""
        path = folder / MANIFEST_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            version = values["format_version"]
            if version == FORMAT_VERSION:
                return cls._from_values(values)
        except FileNotFoundError:
            raise DamagedCorpusError(
                f"{folder} is not a prepared corpus (it has no {MANIFEST_FILE})"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedCorpusError(f"{path} cannot be read ({first_line(error)})") from error
        raise DamagedCorpusError(
            f"{folder} is in format {version!r}, but this version reads {FORMAT_VERSION}"
        )

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> Manifest:
        found = values["splits"]
        splits = {
            split: SplitRecord(**found[split])
            for split in SPLITS
            if split in found or split in NEEDED_SPLITS
        }
        files = {name: FileRecord(**record) for name, record in values["files"].items()}
        tokenizer = TokenizerSpec(**values["tokenizer"])
        # A later version of the same format may say more about the same files.
        known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        domains = tuple(DomainRecord(**record) for record in values.get("domains", ()))
        return cls(
            **{
                **known,
                "tokenizer": tokenizer,
                "splits": splits,
                "files": files,
                "domains": domains,
            }
        )

    def check_sizes(self, folder: Path) -> None:
        """Raises DamagedCorpusError if a file is missing or has another size."""
        for name, record in self.files.items():
            path = folder / name
            size = path.stat().st_size if path.is_file() else None
            if size != record.bytes:
                found = "is missing" if size is None else f"has {size:,} bytes"
                raise DamagedCorpusError(
                    f"{path} {found}; its manifest says {record.bytes:,} bytes"
                )

    def check_contents(self, folder: Path) -> None:
        """Raises DamagedCorpusError if a file's SHA-256 is not the recorded one."""
        for name, record in self.files.items():
            try:
                found = FileRecord.of(folder / name)
            except OSError as error:
                raise DamagedCorpusError(
                    f"{folder / name} cannot be read ({first_line(error)})"
                ) from error
            if found != record:
                raise DamagedCorpusError(f"{folder / name} was changed (its SHA-256 differs)")
