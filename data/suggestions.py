"""What a person may have meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> str:
    """`did you mean glu_expansion? `, to stand before the names that are expected, or nothing.

    Args:
        most: names to suggest.
        cutoff: likeness from 0 to 1 that a name needs, as `difflib` measures it.
    """
    near = get_close_matches(name, list(known), n=most, cutoff=cutoff)
    return f"did you mean {' or '.join(near)}? " if near else ""
