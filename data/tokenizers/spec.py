"""A tokenizer's identity: kind, size and options. Light: does not import the tokenizers.

A new kind is one file with a class (see data.tokenizers.base) and one entry in `KINDS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from data.errors import CorpusError
from data.suggestions import did_you_mean
from data.tokenizers.files import HUB_PREFIX, content_of, size_in

KINDS: Mapping[str, str] = {
    "byte_level_bpe": "data.tokenizers.byte_level_bpe:ByteLevelBpe",
    "superbpe": "data.tokenizers.superbpe:SuperBpe",
    "imported": "data.tokenizers.imported:Imported",
}
"""Kind → module and class that trains and loads it, imported when needed."""

DEFAULT_KIND = "byte_level_bpe"

DEFAULT_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "superbpe": {"transition": 0.9, "max_words": 4},
}
"""Kind → its options that have a default."""

FILE, SHA256 = "file", "sha256"
"""Options that every kind may have: a file that the tokenizer is made from, and its SHA-256."""

_HASH_IN_KEY = 8


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """A tokenizer by its identity: two equal specs give the same tokens for the same text.

    The option `file` is the path of a file, or its name on the hub (see `data.tokenizers.files`).
    It is identified by its content: the option `sha256`, filled in by `resolved`.

    Raises CorpusError for an unknown kind, an impossible size, or options that are not plain.
    """

    kind: str = DEFAULT_KIND
    """A key of KINDS."""
    vocab_size: int = 4_096
    """Tokens, the special ones included."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The kind's other settings; plain values."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            hint = did_you_mean(str(self.kind), KINDS)
            raise CorpusError(
                f"unknown tokenizer {self.kind!r}; {hint}expected one of {', '.join(KINDS)}"
            )
        size = self.vocab_size
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise CorpusError(f"vocab_size is {size!r}; it must be a whole number of at least 1")
        object.__setattr__(self, "options", _plain(self.options))

    @property
    def key(self) -> str:
        """A short name that is equal for equal specs, on any machine: `byte_level_bpe-4096`.

        Options add eight digits of their hash.
        """
        name = f"{self.kind}-{self.vocab_size}"
        identity = self.identity
        if not identity:
            return name
        text = json.dumps(identity, sort_keys=True)
        return f"{name}-{sha256(text.encode()).hexdigest()[:_HASH_IN_KEY]}"

    def resolved(self) -> TokenizerSpec:
        """The spec with the SHA-256 of the file that it names, if it has none yet.

        Raises CorpusError if the file cannot be read.
        """
        if FILE not in self.options or SHA256 in self.options:
            return self
        content = sha256(content_of(self.options[FILE])).hexdigest()
        return replace(self, options={**self.options, SHA256: content})

    @property
    def identity(self) -> dict[str, Any]:
        """The options that decide tokens: a file's content, not its path."""
        if FILE not in self.options:
            return dict(self.options)
        assert SHA256 in self.options, "resolved() reads the file first"
        return {name: value for name, value in self.options.items() if name != FILE}

    @property
    def meant(self) -> dict[str, Any]:
        """`identity` with the defaults of options that are left out. Keys do not use it: cells and
        caches of before are named by what was written."""
        return {**DEFAULT_OPTIONS.get(self.kind, {}), **self.identity}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenizerSpec) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self.key)

    def _fields(self) -> tuple[str, int, dict[str, Any]]:
        return self.kind, self.vocab_size, self.identity


def named(tokenizer: str, *, vocab_size: int | None = None) -> TokenizerSpec:
    """The tokenizer that a command line means: a kind, or the file of an imported one.

    vocab_size: by default that of the file, or that of a spec.
    """
    if tokenizer not in KINDS and (tokenizer.endswith(".json") or tokenizer.startswith(HUB_PREFIX)):
        size = size_in(tokenizer) if vocab_size is None else vocab_size
        return TokenizerSpec(kind="imported", vocab_size=size, options={FILE: tokenizer})
    return TokenizerSpec(kind=tokenizer, vocab_size=vocab_size or TokenizerSpec.vocab_size)


def size_of_file(options: Any) -> int | None:
    """The vocabulary size of the file in a tokenizer's options; None if there is no file.

    Raises CorpusError if the file cannot be read.
    """
    if not isinstance(options, Mapping) or FILE not in options:
        return None
    return size_in(_plain(options)[FILE])


def _plain(options: Any) -> dict[str, Any]:
    """A copy of a mapping of plain values; tuples become lists. Raises CorpusError for others."""
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise CorpusError(f"tokenizer_options is {options!r}; it must map names to values")
    if FILE in options and not isinstance(options[FILE], str):
        raise CorpusError(f"the tokenizer option {FILE!r} is {options[FILE]!r}; it must be a path")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(options), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CorpusError(
            f"tokenizer_options is {dict(options)!r}; its values must be numbers, strings, "
            "booleans, null, lists or mappings"
        ) from error
    return plain
