"""A run's tokenizers: each file with its identity beside the checkpoints, found again by its hash.

In the folder of a sweep, or in the store of the checkpoints, a tokenizer is
`tokenizers/KEY-HASH/tokenizer.json` as the library `tokenizers` writes it, and `identity.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tokenizers import Tokenizer

from data.errors import first_line
from data.manifest import TOKENIZER_FILE, Manifest
from data.prepared import PreparedCorpus
from data.tokenizers.base import with_plain_special_tokens
from data.tokenizers.spec import TokenizerSpec
from tune_app.stores.base import NotStoredError, Store

FOLDER = "tokenizers"
IDENTITY_FILE = "identity.json"
_HASH_IN_NAME = 12


class TokenizerError(ValueError):
    """A tokenizer was not found, or is not the one that a model was trained with."""


@dataclass(frozen=True, kw_only=True)
class TokenizerIdentity:
    """The tokenizer that a model was trained with."""

    kind: str
    vocab_size: int
    options: Mapping[str, Any]
    """Of the kind; a file by its SHA-256."""
    sha256: str
    """Of its tokenizer.json."""
    end_of_text: int
    """The token before each document."""

    @classmethod
    def of(cls, manifest: Manifest) -> TokenizerIdentity:
        """The tokenizer of a prepared corpus."""
        spec = manifest.tokenizer
        return cls(
            kind=spec.kind,
            vocab_size=spec.vocab_size,
            options=spec.identity,
            sha256=manifest.tokenizer_sha256,
            end_of_text=manifest.end_of_text,
        )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> TokenizerIdentity:
        """The inverse of `values`."""
        return cls(**values)

    def values(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        return {**asdict(self), "options": dict(self.options)}

    @property
    def folder(self) -> str:
        """Where its files are, in a sweep's folder or in a store."""
        key = TokenizerSpec(kind=self.kind, vocab_size=self.vocab_size, options=self.options).key
        return f"{FOLDER}/{key}-{self.sha256[:_HASH_IN_NAME]}"

    def parsed(self, content: bytes, *, origin: str) -> Tokenizer:
        """The tokenizer in a file. Raises TokenizerError if it is another one."""
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise TokenizerError(
                f"{origin} is not the tokenizer that the model was trained with: its SHA-256 is "
                f"{found[:_HASH_IN_NAME]}…, not {self.sha256[:_HASH_IN_NAME]}…; the right one is "
                f"in {self.folder} of the run"
            )
        return parsed(content, origin=origin)


def parsed(content: bytes, *, origin: str) -> Tokenizer:
    """The tokenizer in a file. Raises TokenizerError if there is none in it."""
    try:
        return with_plain_special_tokens(Tokenizer.from_str(content.decode()))
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f"{origin} is not a tokenizer.json ({first_line(error)})") from error


def keep_tokenizer(corpus: PreparedCorpus, store: Store) -> None:
    """Writes the tokenizer of a corpus to a store, unless it is there. Raises StoreError."""
    identity = TokenizerIdentity.of(corpus.manifest)
    content = (corpus.folder / TOKENIZER_FILE).read_bytes()
    # The identity is written last, so its presence means that both are complete.
    if f"{identity.folder}/{IDENTITY_FILE}" in store.names(identity.folder):
        return
    store.write(f"{identity.folder}/{TOKENIZER_FILE}", content)
    record = json.dumps(identity.values(), indent=2) + "\n"
    store.write(f"{identity.folder}/{IDENTITY_FILE}", record.encode())


def find_tokenizer(identity: TokenizerIdentity, stores: Iterable[Store]) -> Tokenizer | None:
    """The tokenizer from the first store that holds it; None if none does.

    Raises TokenizerError if a file's content is not what its name says, StoreError if a store does
    not answer.
    """
    for store in stores:
        name = f"{identity.folder}/{TOKENIZER_FILE}"
        try:
            content = store.read(name)
        except NotStoredError:
            continue
        return identity.parsed(content, origin=f"{store.url}/{name}")
    return None
