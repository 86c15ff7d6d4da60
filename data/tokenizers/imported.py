"""A tokenizer that was trained elsewhere: a `tokenizer.json` as the library `tokenizers` writes it.

Its content identifies it (option `sha256`), not its path or its name on the hub (option `file`).
Vocabulary and end-of-text come from the file. Bytes are counted in the text itself, so bits per
byte are only right if no text is lost: each text that is encoded is decoded again and compared.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from tokenizers import Tokenizer

from data.documents import END_OF_TEXT
from data.errors import CorpusError, first_line, listed
from data.progress import Report, silent
from data.tokenizers.base import TokenizerKind, with_plain_special_tokens
from data.tokenizers.files import content_of, not_a_tokenizer, size_in
from data.tokenizers.spec import FILE, SHA256

logger = logging.getLogger(__name__)

END_OPTION = "end_of_text"

END_NAMES = (
    END_OF_TEXT,
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "[SEP]",
)
"""What published tokenizers call end-of-text, the first that is there is meant: GPT-2 and Qwen;
Llama 3; SentencePiece; Gemma; DeepSeek; BERT."""

_PROBE_BYTES = 1 << 20
"""How much text is encoded before the whole corpus is."""
_SHOWN = 24


class Imported(TokenizerKind):
    """A tokenizer from a file, whatever the corpus.

    A normalizer that only composes characters (NFC) is left out: it would change text, and for text
    that is composed already, nearly all there is, the tokens are the same without it.
    """

    options = (FILE, SHA256, END_OPTION)

    def check(self) -> None:
        if FILE not in self.spec.options:
            raise CorpusError(
                f"an imported tokenizer needs the option {FILE!r}: the path of its tokenizer.json, "
                "or hf:owner/name"
            )
        name = self.spec.options.get(END_OPTION, END_OF_TEXT)
        if not isinstance(name, str) or not name:
            raise CorpusError(
                f"the tokenizer option {END_OPTION!r} is {name!r}; it must be the name of a token"
            )

    def train(self, texts: Iterable[list[str]], report: Report = silent) -> Tokenizer:
        """The tokenizer of the file.

        Raises CorpusError if the file is not the one that was asked for, has another size or no
        end-of-text, or loses text.
        """
        file = self.spec.options[FILE]
        content = content_of(file)
        if sha256(content).hexdigest() != self.spec.options[SHA256]:
            raise CorpusError(
                f"{file} is not the tokenizer that was asked for (its SHA-256 differs); "
                f"put that file back, or name this one without {SHA256!r}"
            )
        tokenizer = self._parsed(file, content)
        size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        if size != self.spec.vocab_size:
            if size_in(file) == self.spec.vocab_size:
                raise not_a_tokenizer(file, ValueError("ids of its tokens contradict each other"))
            raise CorpusError(
                f"{file} has {size:,} tokens, not {self.spec.vocab_size:,}; "
                f"ask for a vocabulary of {size}, or leave the vocabulary's size out"
            )
        self.end_of_text(tokenizer)
        for text in _probe(texts):
            self.encode(tokenizer, [text])
        return tokenizer

    def encode(self, tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
        """Raises CorpusError if a text does not come back exactly, or has no tokens."""
        try:
            found = super().encode(tokenizer, texts)
            decoded = tokenizer.decode_batch(found, skip_special_tokens=False)
        except Exception as error:  # the library raises nothing narrower
            raise CorpusError(
                f"{self.spec.options[FILE]} cannot encode the corpus' text ({first_line(error)}); "
                "import a byte-level tokenizer"
            ) from error
        for text, again in zip(texts, decoded, strict=True):
            if text != again:
                raise self._loses(text, again)
        return found

    def end_of_text(self, tokenizer: Tokenizer) -> int:
        added: dict[int, Any] = tokenizer.get_added_tokens_decoder()
        # Only a special token never comes from text.
        special = {one.content: token for token, one in added.items() if one.special}
        asked = self.spec.options.get(END_OPTION)
        for name in END_NAMES if asked is None else (asked,):
            if name in special:
                return int(special[name])
        named = repr(asked) if asked else f"for end-of-text ({listed(END_NAMES)})"
        remedy = (
            f"set the tokenizer option {END_OPTION!r} to one of {listed(special)}"
            if special
            else "it has none at all: import another"
        )
        raise CorpusError(
            f"{self.spec.options[FILE]} has no special token {named}, which begins each document; "
            f"{remedy}"
        )

    def _loses(self, text: str, again: str) -> CorpusError:
        place = next(
            (i for i, (one, other) in enumerate(zip(text, again, strict=False)) if one != other),
            min(len(text), len(again)),
        )
        start = max(0, place - _SHOWN // 2)
        before, after = (one[start : start + _SHOWN] for one in (text, again))
        return CorpusError(
            f"{self.spec.options[FILE]} does not give back the corpus' text exactly: {before!r} "
            f"becomes {after!r} (it normalizes text or has no token for some of it), so bits per "
            "byte would not count all of it; import a byte-level tokenizer"
        )

    @staticmethod
    def _parsed(file: str, content: bytes) -> Tokenizer:
        try:
            saved = json.loads(content)
            if _only_composes(saved.get("normalizer")):
                saved["normalizer"] = None
                content = json.dumps(saved).encode()
                logger.warning(
                    "%s: its normalizer (NFC) is left out, so that all text comes back exactly; "
                    "the tokens of composed text are the same",
                    file,
                )
            tokenizer = Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises nothing narrower
            raise not_a_tokenizer(file, error) from error
        # These would drop tokens, or add some that are not in the text.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return with_plain_special_tokens(tokenizer)


def _only_composes(normalizer: Any) -> bool:
    """Whether a saved normalizer is NFC and nothing else."""
    if not isinstance(normalizer, dict):
        return False
    if normalizer.get("type") == "Sequence":
        parts = normalizer.get("normalizers")
        return isinstance(parts, list) and bool(parts) and all(map(_only_composes, parts))
    return normalizer.get("type") == "NFC"


def _probe(texts: Iterable[list[str]]) -> Iterator[str]:
    left = _PROBE_BYTES
    for batch in texts:
        for text in batch:
            yield text
            left -= len(text)
            if left <= 0:
                return
