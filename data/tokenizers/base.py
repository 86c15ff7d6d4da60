"""The interface of a kind of tokenizer: how it is trained and loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from tokenizers import Tokenizer

from data.documents import END_OF_TEXT
from data.errors import CorpusError
from data.progress import Report, silent
from data.suggestions import did_you_mean
from data.tokenizers.cutting import Cutting
from data.tokenizers.spec import KINDS, TokenizerSpec


class TokenizerKind(ABC):
    """A kind of tokenizer, made for one spec. All its methods raise CorpusError.

    Raises CorpusError for an unknown option or an invalid value.
    """

    options: ClassVar[tuple[str, ...]] = ()
    """Names of the options that a spec of this kind may have."""
    cutting: ClassVar[Cutting] = Cutting()
    """Where the text of a document may be cut; by default nowhere."""

    def __init__(self, spec: TokenizerSpec) -> None:
        unknown = sorted(spec.options.keys() - set(self.options))
        if unknown:
            hint = did_you_mean(unknown[0], self.options)
            raise CorpusError(
                f"unknown option {unknown[0]!r} of the tokenizer {spec.kind}; {hint}"
                f"expected one of {', '.join(self.options) or 'none'}"
            )
        self.spec = spec
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Rejects a size or an option's value that is invalid for this kind."""

    @abstractmethod
    def train(self, texts: Iterable[list[str]], report: Report = silent) -> Tokenizer:
        """A tokenizer of exactly the spec's size, made from batches of text.

        `texts` may be iterated several times, and reports how far it was read; `report` is for
        work besides reading. Encoding and decoding must give back any text
        exactly: bits per byte are only comparable if no text is lost.
        """

    def load(self, path: Path) -> Tokenizer:
        """The tokenizer that was saved in a file."""
        return with_plain_special_tokens(Tokenizer.from_file(str(path)))

    def encode(self, tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
        """The tokens of some texts, without any that are not in the text."""
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def end_of_text(self, tokenizer: Tokenizer) -> int:
        """The token before each document, which no text encodes to."""
        token = tokenizer.token_to_id(END_OF_TEXT)
        if token is None:
            raise CorpusError(f"the tokenizer {self.spec.key} has no token {END_OF_TEXT!r}")
        return int(token)


def with_plain_special_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Keeps `<|endoftext|>` in a text as text; a saved tokenizer loses this setting."""
    tokenizer.encode_special_tokens = True
    return tokenizer


def kind_of(spec: TokenizerSpec) -> TokenizerKind:
    """The kind of a spec's tokenizer, which trains and loads it.

    Raises CorpusError for a size or an option that the kind does not have.
    """
    return class_of(spec.kind)(spec)


def class_of(kind: str) -> type[TokenizerKind]:
    """What trains and loads a kind of tokenizer; a key of KINDS."""
    module, _, name = KINDS[kind].partition(":")
    found: type[TokenizerKind] = getattr(import_module(module), name)
    return found
