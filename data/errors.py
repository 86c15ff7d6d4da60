"""Errors of corpora: one line that names the value, the limit and the remedy."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class CorpusError(ValueError):
    """A corpus that cannot be used as asked. The message is one line and names the remedy."""


class DamagedCorpusError(CorpusError):
    """A prepared corpus on disk that is not what its manifest says.

    Made from the reason; the message adds the remedy.
    """

    @property
    def reason(self) -> str:
        """The message without the remedy."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.reason}; prepare it again with python -m data.prepare"


TOKEN_VARIABLE = "HF_TOKEN"
"""The environment variable with the access token of the Hugging Face hub."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not blank, for a one-line message.

    An access token in it, as in a header that another library quotes, is left out.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    return line.replace(token, f"${TOKEN_VARIABLE}") if token else line


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names for a one-line message, quoted; no more than `most`."""
    quoted = [repr(name) for name in names]
    return ", ".join(quoted[:most]) + (", …" if len(quoted) > most else "")


@contextmanager
def reading_explained(corpus: str) -> Iterator[None]:
    """Turns a failed read of a corpus into a CorpusError."""
    try:
        yield
    except OSError as error:
        raise CorpusError(
            f"{corpus} cannot be read ({_reason(error)}); check that it is still there and "
            "readable, then run again"
        ) from error


@contextmanager
def writing_explained(folder: Path, variable: str) -> Iterator[None]:
    """Turns a failure to write (or read back) below `folder`, a cache, into a CorpusError.

    `variable` is the environment variable that moves the folder elsewhere: the remedy.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CorpusError(
                f"no space left on the disk of {folder}; "
                f"free some, or set {variable} to a folder on a larger disk"
            ) from error
        raise CorpusError(
            f"cannot use the cache folder {folder} ({_reason(error)}); "
            f"set {variable} to a writable folder"
        ) from error


def _reason(error: OSError) -> str:
    return error.strerror or first_line(error)
