"""Turns tokens into text as they come, without broken characters.

A character of UTF-8 may be spread over up to four tokens of a byte-level tokenizer, and a token may
decode to other text behind others than alone. So a piece is what the text gained since the last
piece, and is held back while it ends in the middle of a character.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer

_BROKEN = "\N{REPLACEMENT CHARACTER}"


def texts_of(tokens: Iterable[int], tokenizer: Tokenizer) -> Iterator[str]:
    """The text of the tokens in pieces, which together are the decoded text.

    Bytes that are no UTF-8 become replacement characters, once it is clear that they are.
    """
    piece: list[int] = []
    last: list[int] = []  # the piece before, since it may decide how this one begins
    for token in tokens:
        piece.append(token)
        text = _gained(tokenizer, last, piece)
        if text and not text.endswith(_BROKEN):
            yield text
            last, piece = piece, []
    if piece and (text := _gained(tokenizer, last, piece)):
        yield text


def before_mark(pieces: Iterable[str], mark: str) -> Iterator[str]:
    """The text in front of a mark, in pieces; what may be the beginning of one is held back."""
    held = ""
    for piece in pieces:
        held += piece
        if (end := held.find(mark)) >= 0:
            if end:
                yield held[:end]
            return
        known = next(
            length for length in range(len(mark) - 1, -1, -1) if held.endswith(mark[:length])
        )
        if len(held) > known:
            yield held[: len(held) - known]
            held = held[len(held) - known :]
    if held:
        yield held


def _gained(tokenizer: Tokenizer, last: list[int], piece: list[int]) -> str:
    before: str = tokenizer.decode(last, skip_special_tokens=False)
    text: str = tokenizer.decode([*last, *piece], skip_special_tokens=False)
    return text[len(before) :]
