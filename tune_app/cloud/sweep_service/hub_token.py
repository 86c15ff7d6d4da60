"""The access token of the hub, for the sweep's service alone.

It comes over standard input or from the environment of whoever starts the sweep, lies in a file
that only Ray's user may read, and is in the environment of the sweep's driver, which reads the
corpus. Workers get packed tokens from there and need none. It is never an argument, in the job's
file or in a log, and it goes when the sweep has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tune_app.cloud.whole_files import write_file

TOKEN_VARIABLE = "HF_TOKEN"
"""As `data` reads it."""
LONGEST = 500
"""Characters. Tokens of today have 37."""


def checked_token(text: str) -> str:
    """A token as it is sent, without the white space around it; empty for none.

    Raises ValueError for what cannot be one, without showing it.
    """
    token = text.strip()
    if len(token) > LONGEST or not all("!" <= sign <= "~" for sign in token):
        raise ValueError(
            f"{TOKEN_VARIABLE} is no access token: it has white space or characters beyond ASCII "
            f"in it, or more than {LONGEST}; set it to the token alone, or unset it"
        )
    return token


def store_token(token: str, path: Path) -> None:
    """Keeps a token for the service; an empty one removes what was kept."""
    if token:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(path, token, mode=0o600)
    else:
        path.unlink(missing_ok=True)


def with_token(path: Path) -> Mapping[str, str]:
    """The variable for the sweep's environment; empty if no token is kept."""
    try:
        return {TOKEN_VARIABLE: path.read_text("ascii")}
    except FileNotFoundError:
        return {}
