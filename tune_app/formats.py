"""Formats numbers for people: tokens, durations, bytes, metrics. Pure text, no terminal.

Every function accepts NaN and infinity, because diverged cells report them.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

UNKNOWN = "–"
MINUS = "\N{MINUS SIGN}"

# Error messages may be coloured; an escape sequence in a table would shift its columns.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def count(number: float | None) -> str:
    """A number of tokens in two or three digits: `512`, `2.3k`, `150k`, `5.0M`, `12B`."""
    if number is None or not math.isfinite(number):
        return UNKNOWN
    value, unit = float(number), ""
    for larger in ("k", "M", "B", "T"):
        # 999.5 would round to 1000.
        if abs(value) < 999.5:
            break
        value, unit = value / 1000, larger
    # 9.95 would round to 10.0.
    return f"{value:.1f}{unit}" if unit and abs(value) < 9.95 else f"{value:.0f}{unit}"


def parameters(number: int | None) -> str:
    """A number of parameters, precise enough for a ± 0.5 % budget: `9.998M`, `998.2k`."""
    if number is None:
        return UNKNOWN
    if number < 999_950:
        return f"{number / 1000:.1f}k"
    return f"{number / 1e6:.3f}M" if number < 999_950_000 else f"{number / 1e9:.3f}B"


def progress(done: int, total: int) -> str:
    """Tokens trained out of all training tokens: `38k/150k`."""
    return f"{count(done)}/{count(total)}"


def duration(seconds: float | None) -> str:
    """At most two units: `45s`, `1m 05s`, `2h 03m`, `3d 04h`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600:02d}h"


def size(number: float | None) -> str:
    """Bytes in binary units: `512 B`, `1.5 GiB`."""
    if number is None or not math.isfinite(number):
        return UNKNOWN
    value, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        # 1023.5 would round to 1024.
        if value < 1023.5:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if unit != "B" and value < 9.95 else f"{value:.0f} {unit}"


def bits_per_byte(value: float | None) -> str:
    """Four decimals, finer than the difference between two seeds: `2.3451`."""
    return UNKNOWN if value is None else _not_finite(value) or f"{value:.4f}"


def perplexity(value: float | None) -> str:
    """At most six characters: `23.41`, `512.3`, `15,210`, `2e+07`."""
    if value is None:
        return UNKNOWN
    if text := _not_finite(value):
        return text
    if value < 99.995:
        return f"{value:.2f}"
    if value < 999.95:
        return f"{value:.1f}"
    return f"{value:,.0f}" if value < 99_999.5 else f"{value:.0e}"


def number(value: float | None) -> str:
    """Any other number, to four digits: `0.004`, `0.8412`, `1.234e+06`."""
    return UNKNOWN if value is None else _not_finite(value) or f"{value:.4g}"


def plain(value: float, digits: int = 4) -> str:
    """A number to some digits, whole above them, never with an exponent: `24`, `0.5`, `15,210`."""
    if text := _not_finite(value):
        return text
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{Decimal(f'{value:.{digits}g}'):f}"


def gap(value: float | None) -> str:
    """Difference to the baseline in bits per byte, signed; positive is worse: `+0.0123`."""
    if value is None:
        return UNKNOWN
    if text := _not_finite(value):
        return text
    text = f"{abs(value):.4f}"
    sign = "±" if float(text) == 0 else "+" if value > 0 else MINUS
    return sign + text


def one_line(text: str) -> str:
    """The text without line breaks, colour codes and control characters."""
    return " ".join(_CONTROLS.sub(" ", _ESCAPES.sub("", text)).split())


def counted(number: int, noun: str) -> str:
    """A number of things: `1 cell`, `2 cells`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(parts: Iterable[tuple[int, str]]) -> str:
    """Non-zero counts with their names: `3 finished, 1 failed`."""
    return ", ".join(f"{number} {name}" for number, name in parts if number)


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "" if math.isfinite(value) else ("inf" if value > 0 else MINUS + "inf")


def sweep_arguments(folder: Path) -> str:
    """How a command names the sweep in a folder: `quick`, `quick --results /data/runs`."""
    return f"{shlex.quote(folder.name)}{results_option(folder.parent)}"


def results_option(results: Path) -> str:
    """The option that names a folder of results, with a space in front; empty for the usual one."""
    return "" if results == Path("runs") else f" --results {shlex.quote(str(results))}"
