"""The files of a bundle that its journals determine, and the comparison with them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tune_app import formats
from tune_app.journal.journal import Journal
from tune_app.reproduction.difference import Difference, difference
from tune_app.results.summary import SweepResults, summarise
from tune_app.results.write import write_files
from tune_app.study.definition import DEFINITION, kept_study
from tune_app.study.forecast import kept_forecast
from tune_app.study.report import write_report_files
from tune_app.study.run import read_study
from tune_app.sweep.folder import JOURNAL

CELLS = "cells.json"

_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]*")
_LIBRARY = re.compile(r'<script id="plotly">.*?</script>', re.DOTALL)


def write_derived(folder: Path, to: Path, *, drawn: bool = True) -> SweepResults:
    """Writes everything that the journal in `folder` determines to the folder `to`.

    drawn: whether to draw the plots.

    Raises JournalError if the journal cannot be read.
    """
    with Journal.open(folder / JOURNAL, read_only=True) as journal:
        results = summarise(journal)
        cells = [
            {
                "key": cell.key,
                "label": cell.label,
                "status": cell.status.value,
                "values": dict(cell.values),
                "model": cell.config,
                "baseline_model": cell.baseline_config,
            }
            for cell in journal.cells()
        ]
    to.mkdir(parents=True, exist_ok=True)
    text = json.dumps(cells, indent=1, sort_keys=True, ensure_ascii=False)
    (to / CELLS).write_text(f"{text}\n", "utf-8")
    write_files(results, to, drawn=drawn)
    return results


def write_study_derived(folder: Path, to: Path) -> bool:
    """Writes what the journals of a study's phases determine; whether the folder is a study's.

    Args:
        folder: of the study, with its definition, its forecast and a folder for each phase.
        to: for the report.

    Raises ValueError if the definition cannot be read.
    """
    if not (folder / DEFINITION).is_file():
        return False
    study = kept_study(folder)
    to.mkdir(parents=True, exist_ok=True)
    write_report_files(study, read_study(study, folder), kept_forecast(folder), to)
    return True


def check_derived(said: Path, recomputed: Path, *, name: str, hint: str) -> int:
    """Compares the files of two folders that journals determine; returns the number of files.

    Pictures are left out: another version of Matplotlib or of a font draws the same numbers with
    other pixels. What they are drawn from is in the tables.

    Args:
        said: the folder in the bundle.
        recomputed: what was made again from the journal.
        name: of the folder in the bundle.
        hint: added to the difference.

    Raises Difference for the first one.
    """
    files = sorted(
        path.relative_to(recomputed).as_posix()
        for path in recomputed.rglob("*")
        if path.is_file() and path.suffix != ".png"
    )
    for file in files:
        one, other, told = said / file, recomputed / file, f"{name}/{file}"
        if not one.is_file():
            raise Difference(told, old="it is missing", new="the journal gives it", hint=hint)
        _COMPARISONS.get(other.suffix, _compare_lines)(one, other, told, hint)
    return len(files)


def _compare_lines(said: Path, recomputed: Path, name: str, hint: str) -> None:
    _compare(_lines(said.read_bytes()), _lines(recomputed.read_bytes()), name, hint)


def _compare_pages(said: Path, recomputed: Path, name: str, hint: str) -> None:
    pages = [
        _LIBRARY.sub("", _PICTURE.sub("", path.read_text("utf-8", errors="replace")))
        for path in (said, recomputed)
    ]
    _compare(pages[0].splitlines(), pages[1].splitlines(), name, hint)


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", errors="replace").splitlines()


def _compare(old: list[str], new: list[str], name: str, hint: str) -> None:
    for number in range(max(len(old), len(new))):
        one, other = (lines[number] if number < len(lines) else None for lines in (old, new))
        if one != other:
            raise difference(
                f"{name}: line {number + 1}",
                old="(no such line)" if one is None else one,
                new="(no such line)" if other is None else other,
                hint=hint,
            )


def _compare_tables(said: Path, recomputed: Path, name: str, hint: str) -> None:
    try:
        old = dict(_fields(said))
    except Exception as error:  # whatever the library makes of a damaged file
        text = formats.one_line(str(error))
        raise Difference(name, old="a table", new=f"not readable ({text})", hint=hint) from error
    new = dict(_fields(recomputed))
    for place in [*new, *(one for one in old if one not in new)]:
        one, other = old.get(place), new.get(place)
        if not _equal(one, other):
            column, row = place
            raise difference(
                f"{name}: {column} in row {row + 1}", old=repr(one), new=repr(other), hint=hint
            )


def _fields(path: Path) -> Iterator[tuple[tuple[str, int], Any]]:
    for column, values in pq.read_table(path).to_pydict().items():
        for row, value in enumerate(values):
            yield (column, row), value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and bool(one == other)


_COMPARISONS: Mapping[str, Callable[[Path, Path, str, str], None]] = {
    ".html": _compare_pages,
    ".parquet": _compare_tables,
}
"""By suffix; other files are compared line by line."""
