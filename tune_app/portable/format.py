"""The files of an exported model, and their description in config.json.

An export is a folder: the weights in model.safetensors, tokenizer.json, and config.json, which has
everything else that makes up the model and the SHA-256 of the two. What people read (MODEL_CARD.md,
metrics.json) lies beside them and is not needed to load it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from data.tokenizers.spec import KINDS
from model.mup import Scales
from model.spec import ModelConfig

FORMAT = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
OPTIMIZER_FILE = "optimizer.safetensors"
"""The optimiser's state, if it was asked for: only to go on with the training."""

_NOT_AN_EXPORT = (
    "name a folder that `stellux export` wrote: it has config.json, model.safetensors and "
    "tokenizer.json"
)


class ExportError(ValueError):
    """An export that cannot be loaded; the message says why."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What a file's content must be."""

    size: int
    """Bytes."""
    sha256: str

    def __post_init__(self) -> None:
        if type(self.size) is not int or self.size < 0 or not isinstance(self.sha256, str):
            raise ValueError(
                f"a file has the size {self.size!r} and the SHA-256 {self.sha256!r}; it must be a "
                "whole number of bytes and a text"
            )

    @classmethod
    def of(cls, content: bytes) -> FileRecord:
        """The record of a content."""
        return cls(size=len(content), sha256=hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What makes up an exported model besides its weights and its tokenizer's file."""

    model: ModelConfig
    """Its sizes and variants."""
    scales: Scales
    """Its multipliers: the same weights without them are another model."""
    parametrization: str
    """The rule that the multipliers are from; they alone decide the logits."""
    end_of_text: int
    """The token before each document."""
    tokenizer: Mapping[str, Any]
    """Kind, size and options of the tokenizer."""
    files: Mapping[str, FileRecord]
    source: Mapping[str, Any]
    """Where the model is from: sweep, cell, tokens trained."""
    progress: float = 1.0
    """How much of its training was done, which some parts' output depends on."""

    def as_json(self) -> str:
        """The content of config.json."""
        values = {
            "format": FORMAT,
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "model": self.model.values(),
            "scales": self.scales.values(),
            "files": {name: asdict(record) for name, record in self.files.items()},
        }
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> ExportConfig:
        """The description of an export. Raises ExportError if there is none or it is damaged."""
        if not folder.is_dir():
            raise ExportError(f"there is no folder {folder}; {_NOT_AN_EXPORT}")
        path = folder / CONFIG_FILE
        try:
            values = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise ExportError(f"{folder} is no export: {_NOT_AN_EXPORT}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise ExportError(
                f"{path} is damaged ({_first_line(error)}); copy or export it again"
            ) from error
        found = values.pop("format", None) if isinstance(values, dict) else None
        if type(found) is not int or found < 1:
            raise ExportError(f"{path} does not describe an export of Stellux; {_NOT_AN_EXPORT}")
        if found > FORMAT:
            raise ExportError(
                f"{path} has format {found}, but this version of Stellux reads up to {FORMAT}; "
                "load it with the version that wrote it"
            )
        try:
            return cls(
                **{
                    **values,
                    "model": ModelConfig(**values["model"]),
                    "scales": Scales.from_values(values["scales"]),
                    "progress": _share(values.get("progress", 1.0)),
                    "end_of_text": _of_type(values, "end_of_text", int),
                    "parametrization": _of_type(values, "parametrization", str),
                    "source": _of_type(values, "source", dict),
                    "tokenizer": _tokenizer(_of_type(values, "tokenizer", dict)),
                    "files": {name: FileRecord(**one) for name, one in values["files"].items()},
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExportError(
                f"{path} describes no model that this version of Stellux knows "
                f"({_first_line(error)}); export it again, or use the version that wrote it"
            ) from error

    def content(self, folder: Path, name: str) -> bytes:
        """The content of a file. Raises ExportError unless it is what the description says."""
        path = folder / name
        if name not in self.files:
            raise ExportError(f"{folder / CONFIG_FILE} does not name {name}; export it again")
        wanted = self.files[name]
        try:
            # Not a device or a pipe, which might never end, and no more than there should be.
            if path.exists() and not path.is_file():
                raise ExportError(f"{path} is not a file; copy or export it again")
            with path.open("rb") as file:
                content = file.read(wanted.size + 1)
        except OSError as error:
            raise ExportError(
                f"{path} cannot be read ({error.strerror}); the export is not complete: copy or "
                "export it again"
            ) from error
        if len(content) < wanted.size:
            raise ExportError(
                f"{path} is cut off: it has {len(content):,} of {wanted.size:,} bytes; copy or "
                "export it again"
            )
        if FileRecord.of(content) != wanted:
            what = (
                "the tokenizer that the model was trained with"
                if name == TOKENIZER_FILE
                else "the file that was exported"
            )
            raise ExportError(f"{path} is not {what}: its SHA-256 differs; copy or export it again")
        return content


def _of_type(values: Mapping[str, Any], name: str, kind: type) -> Any:
    # Not isinstance: true is no number of a token.
    if type(values[name]) is not kind:
        raise ValueError(f"{name} is {values[name]!r}; it must be of the type {kind.__name__}")
    return values[name]


def _tokenizer(values: Mapping[str, Any]) -> Mapping[str, Any]:
    if values.get("kind") not in KINDS:
        raise ValueError(
            f"the tokenizer is of the kind {values.get('kind')!r}; expected one of "
            f"{', '.join(KINDS)}"
        )
    return values


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"progress is {value!r}; it must be a number from 0 to 1")
    return float(value)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
