"""Reads a search space from its file, and says at which line something is wrong."""

from __future__ import annotations

import ast
import re
import runpy
import traceback
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import search_spaces
from data.suggestions import did_you_mean
from tune_app.plan.space import PARTS, Space, SpaceError, space_from


def known_spaces() -> list[str]:
    """Names of the spaces that come with the project."""
    (folder,) = search_spaces.__path__
    return sorted(path.stem for path in Path(folder).glob("[!_]*.py"))


def load_space(name: str) -> Space:
    """Loads a space by name, or by the path of its file.

    A space is a Python file that runs when it is loaded, so only load files that you trust.
    Raises SpaceError if there is no such space or if it is invalid.
    """
    path = Path(name)
    if path.suffix != ".py":
        if name not in known_spaces():
            hint = did_you_mean(name, known_spaces())
            raise SpaceError(
                f"unknown search space {name!r}; {hint}expected one of "
                f"{', '.join(known_spaces())}, or the path of a .py file"
            )
        path = Path(search_spaces.__path__[0]) / f"{name}.py"
    if not path.is_file():
        raise SpaceError(f"there is no search space at {path}")
    try:
        names = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        told = error.msg if isinstance(error, SyntaxError) else error
        raise SpaceError(
            f"{path}{_line(_line_of(error, path))} cannot be read: {type(error).__name__}: {told}"
        ) from error
    lines = _lines(path)
    try:
        space = space_from(names, name=path.stem, source=str(path))
    except SpaceError as error:
        raise SpaceError(_located(str(error), str(path), lines)) from None
    return replace(space, source=str(path), lines=lines)


def at_its_line(
    error: ValueError, space: Space, *, overridden: Collection[str], part: str = ""
) -> ValueError:
    """The error with the file and the line of the space's setting that it is about, if any.

    Args:
        overridden: settings that did not come from the space.
        part: the name in the file, such as FIXED, that has the setting; empty if any may.
    """
    own = {
        place: line
        for place, line in space.lines.items()
        if place.partition(".")[2] not in overridden and (not part or place.startswith(f"{part}."))
    }
    message = _located(f"{space.source}: {error}", space.source, own)
    return error if message == f"{space.source}: {error}" else SpaceError(message)


def _located(message: str, source: str, lines: Mapping[str, int]) -> str:
    """The message with the line of the setting that it begins with, or of a part it mentions."""
    body = message.removeprefix(source)
    found = []
    for place, line in lines.items():
        part, _, name = place.partition(".")
        # Names of settings are also plain words, as in "embedding share".
        start = r"^\W*(the baseline: )?(unknown setting ')?" if name else r"(?<!\w)"
        if match := re.search(rf"{start}{re.escape(name or part)}(?!\w)", body):
            found.append((match.start(), line))
    return f"{source}{_line(min(found)[1])}{body}" if found else message


def _line(number: int | None) -> str:
    return "" if number is None else f", line {number}"


def _line_of(error: BaseException, path: Path) -> int | None:
    """The line of the file at which the error was raised."""
    if isinstance(error, SyntaxError):
        return error.lineno if error.filename == str(path) else None
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)


def _lines(path: Path) -> dict[str, int]:
    """The lines at which a file sets AXES, AXES.learning_rate and so on, as far as it is plain."""
    lines: dict[str, int] = {}
    for statement in ast.parse(path.read_bytes()).body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        for target in targets:
            if not (isinstance(target, ast.Name) and target.id.isupper()):
                continue
            lines = {
                place: line for place, line in lines.items() if place.partition(".")[0] != target.id
            }
            lines[target.id] = statement.lineno
            if target.id in PARTS:
                lines |= {f"{target.id}.{name}": line for name, line in _entries(value)}
    return lines


def _entries(value: ast.expr) -> list[tuple[str, int]]:
    """The names in a literal mapping, and their lines."""
    if isinstance(value, ast.Dict):
        keys = [
            one for key in value.keys for one in (key.elts if isinstance(key, ast.Tuple) else [key])
        ]
        return [
            (key.value, key.lineno)
            for key in keys
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        ]
    if isinstance(value, ast.Call):
        return [(entry.arg, entry.value.lineno) for entry in value.keywords if entry.arg]
    return []
