"""What a verification ends with: the first thing that is not as the bundle says."""

from __future__ import annotations

_LONGEST = 200
_AROUND = 30
"""Characters that are shown before the first one that differs."""


class Difference(Exception):  # noqa: N818 - it is a result of a verification
    """The first difference found. Names what differs, and both values."""

    def __init__(self, what: str, *, old: str, new: str, hint: str = "") -> None:
        self.what, self.old, self.new = what, old, new
        text = f"{what} differs\n  old, in the bundle: {old}\n  new, found now:     {new}"
        super().__init__(f"{text}\n{hint}" if hint else text)


def difference(what: str, *, old: str, new: str, hint: str = "") -> Difference:
    """The difference of two long texts, both shortened to the place where they part."""
    start = max(0, _common(old, new) - _AROUND)
    return Difference(what, old=_piece(old, start), new=_piece(new, start), hint=hint)


def _common(one: str, other: str) -> int:
    """Length of what both begin with."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


def _piece(text: str, start: int) -> str:
    piece = text[start : start + _LONGEST]
    before, after = "…" * (start > 0), "…" * (start + _LONGEST < len(text))
    return f"{before}{piece}{after}" or "(nothing)"
