"""Shared by all command lines: start-up, signals and error handling."""

from __future__ import annotations

import errno
import importlib.util
import io
import logging
import os
import platform
import shlex
import shutil
import signal
import sys
import sysconfig
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TextIO, cast

import tomllib
from cyclopts import App
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
"""Root folder of the program's source."""
CONSOLE = "stellux"
"""The installed console command."""

MISTAKE = 2
"""Exit code for user mistakes."""
ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a sweep as Ctrl-C does."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""
OUT_OF_DOLLARS = 75
"""Exit code of a sweep that saved all its cells because its dollars or its cluster's are spent:
`EX_TEMPFAIL` of sysexits.h, try again later."""


def run_command(app: App, module: str, arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code.

    User mistakes (ValueError) and system errors (OSError) print one line on standard error.
    Anything else is a bug and keeps its traceback.

    Args:
        app: the command line.
        module: the module as in `python -m MODULE`.
        arguments: None for the arguments of the process.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", handlers=[_LogHandler()])
    logging.captureWarnings(True)
    # It warns at length about the cache of fonts of a user without a home folder.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    errors = Console(stderr=True, soft_wrap=True)
    try:
        refuse_hidden_packages()
        search_working_folder_last()
        from data.printable import print_what_can_be_printed  # noqa: PLC0415 - it may be hidden

        print_what_can_be_printed()
        app.suppress_keyboard_interrupt = False  # it would end without a word
        app.console = lasting_console()  # `--help | head` is no failure
        code: int | None = app(own_arguments() if arguments is None else arguments)
    except (ValueError, OSError) as error:
        text = fitting(f"error: {_told(error)}", sys.stderr)
        errors.print(text, style="red", markup=False, highlight=False)
        return MISTAKE
    except KeyboardInterrupt:
        command = repeated(module, own_arguments() if arguments is None else arguments)
        errors.print(f"\ninterrupted; continue with: {command}", markup=False, highlight=False)
        return INTERRUPTED
    return code or 0


def _told(error: ValueError | OSError) -> str:
    """The error as a sentence, without the number that the system gives to its own."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}"
    return str(error)


def version_text() -> str:
    """Versions of Stellux and of what decides a result. Imports none of it."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        own = str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
    else:
        own = version(CONSOLE)
    others = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray"))
    return f"{CONSOLE} {own}, {others}, Python {platform.python_version()}"


def examples(*commands: str) -> str:
    """Examples for the end of a help screen, one a line. A heading `Examples:` inside a docstring
    would be taken for a section of it and dropped."""
    return "\n  ".join(("Examples:", *commands))


PACKAGES = ("data", "model", "search_spaces", "tune_app")


def refuse_hidden_packages() -> None:
    """Raises ValueError if another file would be imported in place of one of our packages.

    `python -m` searches the working folder first, which may contain a `model.py`.
    """
    for package in PACKAGES:
        try:
            spec = importlib.util.find_spec(package)
        except ValueError:  # imported already, without a file, as by a test
            continue
        found = list(spec.submodule_search_locations or [spec.origin or ""]) if spec else []
        if found and Path(found[0]).resolve() != (ROOT / package).resolve():
            raise _hidden(found[0], f"Stellux's own package {package!r}")


def search_working_folder_last() -> None:
    """For `python -m`, which searches it first: from now on a file there hides no library.

    Raises ValueError if one was imported from there already.
    """
    here = Path.cwd()
    if here == ROOT or Path(sys.path[0]).absolute() != here:
        return
    sys.path.append(sys.path.pop(0))
    if str(here) in sysconfig.get_paths().values():  # the libraries themselves
        return
    for name, module in list(sys.modules.items()):
        if (path := getattr(module, "__file__", None)) is None:
            continue
        file = Path(path)
        if here in (file.parent, file.parent.parent) and name not in _LOADED_BY_PYTHON:
            raise _hidden(str(file), f"the module {name!r} that Stellux needs")


_LOADED_BY_PYTHON = ("__main__", "sitecustomize", "usercustomize")


def _hidden(file: str, what: str) -> ValueError:
    return ValueError(
        f"{file} hides {what}; start in another folder, or use the command `{CONSOLE}`, which does "
        "not import from the working folder"
    )


class LastingOutput(io.TextIOBase):
    """A stream that discards its output once its reader is gone, so that the writer can continue.

    Other errors of the stream, such as a full disk, are raised as OSError.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._go_quiet(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._go_quiet(error)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def _go_quiet(self, error: OSError) -> None:
        if error.errno not in _READER_GONE:
            raise error
        # Also for buffered output, which the interpreter writes when it exits.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


_READER_GONE = (errno.EPIPE, errno.EIO)
"""Errors of a pipe without a reader, and of a closed terminal."""


def lasting_console() -> Console:
    """Standard output for a command that continues without a reader: a sweep in `| head`."""
    return Console(file=cast(TextIO, LastingOutput(sys.stdout)))


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside the block, SIGTERM and a closed terminal raise KeyboardInterrupt, like Ctrl-C.

    Signals that the process was started to ignore, as with `nohup`, stay ignored; a thread other
    than the main one cannot handle signals and leaves them alone.
    """

    def interrupt(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in handled(ENDING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Inside the block, Ctrl-C, SIGTERM and a closed terminal are only noted, so that the program
    can finish a step; a second signal raises KeyboardInterrupt. Yields whether one came."""
    came = False

    def note(number: int, _: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    numbers = handled((signal.SIGINT, *ENDING))
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def handled(numbers: Sequence[signal.Signals]) -> list[signal.Signals]:
    """Those of the signals that this thread may handle, and that the process does not ignore."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


class _LogHandler(logging.StreamHandler[TextIO]):
    """Writes to the current standard error, which a live view replaces while it draws."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return fitting(super().format(record), self.stream)


def fitting(text: str, stream: TextIO) -> str:
    """The text with its lines broken between words if the stream is a terminal.

    Words such as paths stay whole, to be copied. Elsewhere a message is one line, to be searched.
    """
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    wrap = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrap.fill(line) for line in text.splitlines())


def own_arguments() -> list[str]:
    """The arguments after the command, `stellux sweep` or `python -m tune_app.sweep`."""
    return sys.argv[2:] if _by_console() else sys.argv[1:]


def command_name(module: str) -> str:
    """The command as it was started, for its help: `stellux sweep`, `python -m tune_app.sweep`."""
    return f"{CONSOLE} {module.rpartition('.')[2]}" if _by_console() else f"python -m {module}"


def repeated(module: str, arguments: Sequence[str]) -> str:
    """The command line to repeat the command in the same environment."""
    if not _by_console():
        return shlex.join([*_python(), "-m", module, *arguments])
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        front = [*_python(), "-m", "tune_app"]
    else:
        front = [_as_found(CONSOLE, program)]
    return shlex.join([*front, module.rpartition(".")[2], *arguments])


def _by_console() -> bool:
    """Whether this process was started as `stellux` or `python -m tune_app`."""
    program = Path(sys.argv[0])
    return program.stem == CONSOLE or program.parts[-2:] == ("tune_app", "__main__.py")


def _python() -> list[str]:
    return [_as_found("python", Path(sys.executable))]


def _as_found(name: str, program: Path) -> str:
    """The bare name if the shell finds this same program under it, else its path."""
    found = shutil.which(name)
    same = found is not None and Path(found).absolute() == program.absolute()
    return name if same else os.path.relpath(program)
