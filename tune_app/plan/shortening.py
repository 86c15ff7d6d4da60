"""Shortens texts so that they stay different from each other."""

from __future__ import annotations

from collections.abc import Sequence

BETWEEN = " × "
"""Stands between the values in a cell's name."""
_WHOLE = 9
"""Values of up to so many letters are not shortened within a name."""


def narrowed(names: Sequence[str], width: int) -> list[str]:
    """Names of cells in at most so many characters, each value shortened by itself."""
    rows = [name.split(BETWEEN) for name in names]
    number = len(rows[0]) if rows else 0
    if any(len(row) != number for row in rows):
        return shortened(names, width)
    columns = list(zip(*rows, strict=True))
    lengths = [max(map(len, column)) for column in columns]
    room = width - len(BETWEEN) * (number - 1)
    for longest in range(max(lengths, default=0), 3, -1):
        # A truncated number is a wrong number.
        limits = [length if length <= _WHOLE else min(length, longest) for length in lengths]
        if sum(limits) <= room:
            short = [shortened(c, limit) for c, limit in zip(columns, limits, strict=True)]
            return [BETWEEN.join(row) for row in zip(*short, strict=True)]
    return shortened(names, width)


def shortened(texts: Sequence[str], longest: int) -> list[str]:
    """The texts, long ones shortened so that they stay different from each other, if they can.

    What is left out is the middle; or else both ends, so that the part in which they differ stays.
    """
    found = [_middle_out(text, longest) for text in texts]
    if len(set(found)) == len(set(texts)):
        return found
    long = [text for text in texts if len(text) > longest]
    start = _alike(long)
    ends = [text[start:] for text in long]
    end = min(_alike([text[::-1] for text in ends]), *map(len, ends))
    return [_window(text, start, len(text) - end, longest) for text in texts]


def _alike(texts: Sequence[str]) -> int:
    """The number of letters with which all texts begin."""
    letters = enumerate(zip(*texts, strict=False))
    return next((at for at, column in letters if len(set(column)) > 1), min(map(len, texts)))


def _window(text: str, start: int, stop: int, width: int) -> str:
    """So many letters of a text, with those from `start` to `stop` if they fit."""
    if len(text) <= width:
        return text
    spare = width - 2 - (stop - start)
    if spare < 0:
        return _middle_out(f"…{text[start:]}", width)
    left = max(0, min(start - spare // 2, len(text) - width + 1))
    right = min(len(text), left + width - 2 + (left == 0))
    return f"{'…' if left else ''}{text[left:right]}{'…' if right < len(text) else ''}"


def _middle_out(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 1]}…{text[len(text) - tail :]}"
