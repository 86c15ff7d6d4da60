"""What the project's command lines share: how they start, and how they fail."""

from __future__ import annotations

import io
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from cyclopts import App
from rich.console import Console

MISTAKE = 2
"""Exit code for a person's mistake."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def run_command(app: App, module: str, arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code.

    A person's mistake (ValueError), or something that the system refuses (OSError), is one line
    on standard error; anything else is a defect of the program and keeps its traceback.

    Args:
        app: the command line.
        module: as it is started, `python -m MODULE`.
        arguments: None for those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that has no "–" gets a "?", not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    logging.basicConfig(format="%(levelname)s: %(message)s", handlers=[_LogHandler()])
    logging.captureWarnings(True)
    errors = Console(stderr=True, soft_wrap=True)
    try:
        code: int = app(arguments)
    except (ValueError, OSError) as error:
        errors.print(f"error: {error}", style="red", markup=False, highlight=False)
        return MISTAKE
    except KeyboardInterrupt:
        command = repeated(module, sys.argv[1:] if arguments is None else arguments)
        errors.print(f"\ninterrupted; continue with: {command}", markup=False, highlight=False)
        return INTERRUPTED
    return code


class _LogHandler(logging.StreamHandler[TextIO]):
    """Writes to what standard error is now: a live view puts itself in its place while it draws."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def repeated(module: str, arguments: Sequence[str]) -> str:
    """The command line as a person can type it again, in the same environment."""
    found = shutil.which("python")
    same = found is not None and Path(found).absolute() == Path(sys.executable).absolute()
    python = "python" if same else os.path.relpath(sys.executable)
    return shlex.join([python, "-m", module, *arguments])
