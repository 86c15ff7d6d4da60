"""Corpora in files: a single file, split by hash, or a folder with a file for each split."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from data.errors import CorpusError
from data.sources.base import Document
from data.sources.formats import FORMATS, CorpusFile, Reading
from data.splits import (
    HASHED_AS,
    NEEDED_SPLITS,
    SPLIT_ALIASES,
    SPLITS,
    SplitName,
    split_by_hash,
)

_SUFFIXES = ", ".join(FORMATS)


class SingleFile:
    """One file of documents, split by a hash of each document's text."""

    splitting = "90/5/5 by a hash of each document"
    divisible = True

    def __init__(self, name: str, file: CorpusFile) -> None:
        self.name = name
        self.file = file

    @property
    def grouping(self) -> str:
        return self.file.grouping

    def content_hash(self) -> str:
        return _hash_of_files({"file": self.file})

    def documents(self) -> Iterator[Document]:
        for text in self.file.documents():
            yield Document(split_by_hash(text or b""), text)


class SplitFolder:
    """A folder with one file for each split; it may do without a test split."""

    splitting = "as the folder's files"
    divisible = False

    def __init__(self, name: str, files: dict[SplitName, CorpusFile]) -> None:
        self.name = name
        self.files = files

    @property
    def grouping(self) -> str:
        found = {split: file.grouping for split, file in self.files.items()}
        if len(set(found.values())) == 1:
            return found["train"]
        return "; ".join(f"{split}: {grouping or 'as stored'}" for split, grouping in found.items())

    def content_hash(self) -> str:
        return _hash_of_files({HASHED_AS[split]: file for split, file in self.files.items()})

    def documents(self) -> Iterator[Document]:
        for split, file in self.files.items():
            for text in file.documents():
                yield Document(split, text)


def open_path(
    name: str, path: Path, *, field: str | None = None, grouping: str | None = None
) -> SingleFile | SplitFolder:
    """The corpus at a path. Raises CorpusError if there is none.

    Args:
        name: as the user wrote it.
        path: a file or a folder.
        field: of JSON lines and Parquet; None for `text`.
        grouping: how plain text is split into documents, a key of data.documents.GROUPINGS; None
            decides by each file's content.
    """
    reading = Reading(field=field, grouping=grouping)
    if _mode(path, name) == stat.S_IFDIR:
        files = _files_of_folder(path, reading)
        _check_asked(name, list(files.values()), reading)
        return SplitFolder(name, files)
    # A split of its own may be a single document; a whole corpus may not.
    file = _open_file(path, replace(reading, cut_one_paragraph=True))
    _check_asked(name, [file], reading)
    return SingleFile(name, file)


def _check_asked(name: str, files: Sequence[CorpusFile], reading: Reading) -> None:
    """Refuses a field or a grouping that no file has a use for."""
    if reading.field is not None and not any(file.has_fields for file in files):
        raise CorpusError(
            f"{name} names the field {reading.field!r}, but plain text has no fields; leave it out"
        )
    if reading.grouping is not None and all(file.has_fields for file in files):
        raise CorpusError(
            f"{name} asks for {reading.grouping}, but only plain text is split so, and here each "
            "row is a document; leave it out"
        )


def _files_of_folder(folder: Path, reading: Reading) -> dict[SplitName, CorpusFile]:
    """By split, in the order of SPLITS."""
    candidates: dict[SplitName, list[Path]] = {split: [] for split in SPLITS}
    for path in sorted(folder.iterdir()):
        split = SPLIT_ALIASES.get(path.stem.lower())
        if split and path.suffix.lower() in FORMATS:
            candidates[split].append(path)
    for split, paths in candidates.items():
        if not paths and split in NEEDED_SPLITS:
            raise CorpusError(
                f"{folder} has no file for the split {split!r}; a corpus folder needs train and "
                f"dev (or val, valid, validation), and may have test, each as one of {_SUFFIXES} "
                f"(here, add {split}.txt or give a single file, which is split for you)"
            )
        if len(paths) > 1:
            raise CorpusError(
                f"{folder} has {len(paths)} files for the split {split!r} "
                f"({', '.join(path.name for path in paths)}); keep one of them"
            )
    return {split: _open_file(paths[0], reading) for split, paths in candidates.items() if paths}


def _open_file(path: Path, reading: Reading) -> CorpusFile:
    if _mode(path, str(path)) != stat.S_IFREG:
        raise CorpusError(f"{path} is not a regular file; give a file ending in {_SUFFIXES}")
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise CorpusError(
            f"{path} ends in {path.suffix!r}; a corpus file must end in one of {_SUFFIXES}"
        )
    if not os.access(path, os.R_OK):
        raise CorpusError(f"{path} cannot be read; allow it with chmod +r")
    return form(path, reading)


def _mode(path: Path, name: str) -> int:
    """The type of the file at a path, links followed: a value of stat.S_IFMT."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        kind = "is a broken link" if path.is_symlink() else "does not exist"
        raise CorpusError(
            f"{name} {kind}; give a file ending in {_SUFFIXES}, a folder with such files for "
            "train, dev and perhaps test, or the name of a corpus such as stdlib"
        ) from None
    except OSError as error:  # a loop of links, a folder that may not be entered
        raise CorpusError(
            f"{name} cannot be opened ({error.strerror}); give another path"
        ) from error


def _hash_of_files(files: Mapping[str, CorpusFile]) -> str:
    digest = sha256(b"files\n")
    for role, file in files.items():
        content = file.content_hash()  # first: it rejects what is not text
        digest.update(f"{role} {file.identity} {content}\n".encode())
    return digest.hexdigest()
