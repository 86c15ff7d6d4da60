"""An exception in one line, for lists of failures."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path


def reason_of(error: BaseException) -> str:
    """The type of an exception and the first line of its message.

    The last line of a traceback would not do: the message of many an exception ends in advice, as
    in PyTorch's. Exceptions of torch.compile only wrap the one that says what is wrong. An
    exception without a message has its place in the code instead.
    """
    while isinstance(inner := getattr(error, "inner_exception", None), BaseException):
        error = inner
    name = _name(type(error))
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines:
        return f"{name}: {lines[0]}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return name
    return f"{name}: in line {frames[-1].lineno} of {Path(frames[-1].filename).name}"


def reason_in(lines: Sequence[str]) -> str:
    """The first line of the exception in the text of a traceback, where only that is left."""
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    after = lines[frames[-1] + 1 :] if frames else []
    return next((line for line in after if not line[:1].isspace()), lines[-1] if lines else "")


def _name(kind: type[BaseException]) -> str:
    """As in a traceback."""
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else (f"{kind.__module__}.{kind.__qualname__}")
    )
