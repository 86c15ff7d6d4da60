"""Whole numbers as people write them: 150000, 150k, 5M."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts import Token

_SHORT = re.compile(r"\d+(\.\d+)?[kmb]", re.IGNORECASE)
_COUNT = re.compile(r"\d[\d_]*(\.\d+)?[kmb]|\d+(_\d+)+", re.IGNORECASE)
_MULTIPLES = {"k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


def counted(text: str) -> int:
    """The whole number that a text means. Raises ValueError for another text."""
    plain = text.strip().lower().replace("_", "").replace(",", "")
    factor = _MULTIPLES.get(plain[-1:], 1)
    try:
        number = float(plain[:-1] if factor > 1 else plain) * factor
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{text!r} is not a whole number; write it as in 150000, 150k or 5M")
    return int(number)


def is_short(text: str) -> bool:
    """Whether a text is a number with k, M or B behind it, which is no number elsewhere."""
    return _SHORT.fullmatch(text) is not None


def with_counts_read(value: Any) -> Any:
    """The number in place of a text such as 20k or 20_000; any other value as it is."""
    if isinstance(value, str) and _COUNT.fullmatch(value):
        with suppress(ValueError):  # 1.2345k is refused where the value is used, by its name
            return counted(value)
    return value


def from_command_line(_: Any, tokens: Sequence[Token]) -> int:
    """The converter of an option that is a count."""
    return counted(tokens[0].value)
