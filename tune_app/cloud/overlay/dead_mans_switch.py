"""The part of a worker's start script that ends the instance when nobody watches it. Pure.

A head that is lost, or a daemon that no longer works, would leave its workers billing for ever: so
each worker ends itself. See dead_mans_switch.sh.
"""

from __future__ import annotations

from pathlib import Path

SILENT_S = 800
"""Without a heartbeat for so long the instance ends. With a step of the switch's, its question and
the call to the market, that is under 15 minutes."""
SHUT_DOWN = "kill -9 -1"
"""Every process of the container but the first and the switch itself."""

NO_ENDING = "destroy() { :; }\nstop() { :; }\n"
"""For a market whose instances cannot end themselves."""


def switch(ending: str = NO_ENDING) -> str:
    """Its text, whose names @FOLDER … are still to be filled in.

    Args:
        ending: shell functions `destroy` and `stop` of the market's.
    """
    text = (Path(__file__).parent / "dead_mans_switch.sh").read_text("ascii")
    return "".join(f"{without_comments(one)}\n" for one in (ending, text))


def without_comments(text: str) -> str:
    """A shell script without lines of comment and without indentation, which cost room.

    For scripts without quotes or here-documents in which a line begins with blanks or #.
    """
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))
