"""A tokenizer that was trained elsewhere: a `tokenizer.json` as the library `tokenizers` writes it.

The file's content identifies it (option `sha256`), not its path (option `file`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from data.documents import END_OF_TEXT
from data.errors import CorpusError, first_line, reading_explained
from data.progress import Report, silent
from data.tokenizers.base import TokenizerKind, with_plain_special_tokens
from data.tokenizers.spec import FILE, SHA256

END_OPTION = "end_of_text"

_PROBE_BYTES = 1 << 20
"""How much text must come back exactly before the tokenizer is accepted."""


class Imported(TokenizerKind):
    """A tokenizer from a file, whatever the corpus."""

    options = (FILE, SHA256, END_OPTION)

    def check(self) -> None:
        if FILE not in self.spec.options:
            raise CorpusError(
                f"an imported tokenizer needs the option {FILE!r}: the path of its tokenizer.json"
            )

    def train(self, texts: Iterable[list[str]], report: Report = silent) -> Tokenizer:
        """The tokenizer of the file.

        Raises CorpusError if the file is not the one that was asked for, has another size or no
        end-of-text, or loses text.
        """
        path = Path(self.spec.options[FILE])
        with reading_explained(str(path)):
            content = path.read_bytes()
        if sha256(content).hexdigest() != self.spec.options[SHA256]:
            raise CorpusError(
                f"{path} is not the tokenizer that was asked for (its SHA-256 differs); "
                f"put that file back, or name this one without {SHA256!r}"
            )
        tokenizer = self._parsed(path, content)
        size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        if size != self.spec.vocab_size:
            raise CorpusError(
                f"{path} has {size:,} tokens, not {self.spec.vocab_size:,}; "
                f"ask for a vocabulary of {size}"
            )
        self.end_of_text(tokenizer)
        self._check_exact(tokenizer, texts, path)
        return tokenizer

    def end_of_text(self, tokenizer: Tokenizer) -> int:
        name = self.spec.options.get(END_OPTION, END_OF_TEXT)
        token = tokenizer.token_to_id(name)
        added: dict[int, Any] = tokenizer.get_added_tokens_decoder()
        # Only a special token never comes from text.
        if token is None or token not in added or not added[token].special:
            special = [repr(one.content) for one in added.values() if one.special]
            raise CorpusError(
                f"the tokenizer has no special token {name!r}; set the tokenizer option "
                f"{END_OPTION!r} to one of {', '.join(special) or 'its special tokens (none)'}"
            )
        return int(token)

    @staticmethod
    def _parsed(path: Path, content: bytes) -> Tokenizer:
        try:
            tokenizer = Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises nothing narrower
            raise CorpusError(f"{path} is not a tokenizer.json ({first_line(error)})") from error
        # These would drop tokens, or add some that are not in the text.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return with_plain_special_tokens(tokenizer)

    @staticmethod
    def _check_exact(tokenizer: Tokenizer, texts: Iterable[list[str]], path: Path) -> None:
        for text in _probe(texts):
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            if tokenizer.decode(ids, skip_special_tokens=False) != text:
                raise CorpusError(
                    f"{path} does not give back the corpus' text exactly (it normalizes text or "
                    "has no token for some of it), so bits per byte would not count all of it; "
                    "import a byte-level tokenizer"
                )


def _probe(texts: Iterable[list[str]]) -> Iterator[str]:
    left = _PROBE_BYTES
    for batch in texts:
        for text in batch:
            yield text
            left -= len(text)
            if left <= 0:
                return
