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

CONSOLE = "stellux"
"""The console command that an installation brings."""

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
        code: int | None = app(own_arguments() if arguments is None else arguments)
    except (ValueError, OSError) as error:
        errors.print(f"error: {error}", style="red", markup=False, highlight=False)
        return MISTAKE
    except KeyboardInterrupt:
        command = repeated(module, own_arguments() if arguments is None else arguments)
        errors.print(f"\ninterrupted; continue with: {command}", markup=False, highlight=False)
        return INTERRUPTED
    return code or 0


class _LogHandler(logging.StreamHandler[TextIO]):
    """Writes to what standard error is now: a live view puts itself in its place while it draws."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def own_arguments() -> list[str]:
    """What was typed after the command, `stellux sweep` or `python -m tune_app.sweep`."""
    return sys.argv[2:] if _by_console() else sys.argv[1:]


def command_name(module: str) -> str:
    """A command as it was typed, for its help: `stellux sweep`, `python -m tune_app.sweep`."""
    return f"{CONSOLE} {module.rpartition('.')[2]}" if _by_console() else f"python -m {module}"


def repeated(module: str, arguments: Sequence[str]) -> str:
    """The command line as a person can type it again, in the same environment."""
    if not _by_console():
        return shlex.join([*_python(), "-m", module, *arguments])
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        front = [*_python(), "-m", "tune_app"]
    else:
        front = [_as_found(CONSOLE, program)]
    return shlex.join([*front, module.rpartition(".")[2], *arguments])


def _by_console() -> bool:
    """Whether this process is `stellux`, or `python -m tune_app`, which is the same."""
    program = Path(sys.argv[0])
    return program.stem == CONSOLE or program.parts[-2:] == ("tune_app", "__main__.py")


def _python() -> list[str]:
    return [_as_found("python", Path(sys.executable))]


def _as_found(name: str, program: Path) -> str:
    """The bare name where the shell finds this very program under it, else its path."""
    found = shutil.which(name)
    same = found is not None and Path(found).absolute() == program.absolute()
    return name if same else os.path.relpath(program)
