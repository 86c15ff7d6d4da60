"""Output for terminals that lack some characters."""

from __future__ import annotations

import codecs
import io
import sys

_SCHEME = "stellux-plain"
_PLAIN = {
    "−": "-",
    "–": "-",
    "—": "-",
    "‑": "-",
    "×": "x",
    "·": ".",
    "…": "...",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "→": "->",
    "━": "#",
    "✓": "*",
    "’": "'",
    "²": "2",
    "³": "3",
    "Δ": "d",
    "η": "eta",
    "σ": "sigma",
}
"""Written instead of a character that the terminal lacks; a number keeps its sign."""


def print_what_can_be_printed() -> None:
    """Makes stdout and stderr replace characters that they cannot encode.

    A terminal without "−" gets "-", and one without "語" gets "?": never a traceback.
    """
    codecs.register_error(_SCHEME, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_SCHEME)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in lacking), error.end
