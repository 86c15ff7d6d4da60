"""Numbers as people read them, at the edges between two units and where they are no numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tune_app import formats


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (512, "512"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (2_304, "2.3k"),
        (9_949, "9.9k"),
        (9_960, "10k"),
        (37_500, "38k"),
        (150_000, "150k"),
        (999_400, "999k"),
        (999_999, "1.0M"),
        (5_000_000, "5.0M"),
        (12e9, "12B"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_count(number: float | None, text: str) -> None:
    assert formats.count(number) == text


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (24.0, 4, "24"),
        (2.34567, 4, "2.346"),
        (1_664.4, 4, "1,664"),
        (1_483.7, 3, "1,484"),
        (-1_483.7, 3, "-1,484"),
        (999.7, 3, "1,000"),
        (99.96, 3, "100"),
        (3.2e7, 4, "32,000,000"),
        (0.00001234, 3, "0.0000123"),
        (0.0, 3, "0"),
        (math.inf, 3, "inf"),
        (math.nan, 3, "NaN"),
    ],
)
def test_plain_numbers_have_no_exponent(number: float, digits: int, text: str) -> None:
    assert formats.plain(number, digits) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-3, "0s"),
        (45.4, "45s"),
        (59.6, "1m 00s"),
        (65, "1m 05s"),
        (3_599.7, "1h 00m"),
        (7_380, "2h 03m"),
        (86_399, "23h 59m"),
        (273_600, "3d 04h"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1.5 * 1024**3, "1.5 GiB"),
        (139 * 1024**3, "139 GiB"),
        (None, "–"),
    ],
)
def test_size(number: float | None, text: str) -> None:
    assert formats.size(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(998_200, "998.2k"), (999_960, "1.000M"), (9_998_336, "9.998M"), (1_240_000_000, "1.240B")],
)
def test_parameters_show_half_a_percent(number: int, text: str) -> None:
    assert formats.parameters(number) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (23.414, "23.41"),
        (99.997, "100.0"),
        (512.34, "512.3"),
        (999.97, "1,000"),
        (15_210.4, "15,210"),
        (2.2e7, "2e+07"),
        (math.nan, "NaN"),
        (math.inf, "inf"),
        (None, "–"),
    ],
)
def test_perplexity(value: float | None, text: str) -> None:
    assert formats.perplexity(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "+0.0123"),
        (-0.01234, "−0.0123"),
        (0.00001, "±0.0000"),
        (-0.00001, "±0.0000"),
        (math.nan, "NaN"),
        (-math.inf, "−inf"),
        (None, "–"),
    ],
)
def test_gap_has_a_sign(value: float | None, text: str) -> None:
    assert formats.gap(value) == text


def test_one_line_has_no_escape_sequences_and_no_line_breaks() -> None:
    text = "\x1b[36m(trial pid=7)\x1b[0m RuntimeError:\r\n\tout of \x1b[1mmemory\x1b[0m\x07"
    assert formats.one_line(text) == "(trial pid=7) RuntimeError: out of memory"


def test_listed_leaves_out_what_does_not_occur() -> None:
    assert formats.listed([(3, "finished"), (0, "failed"), (1, "stopped")]) == (
        "3 finished, 1 stopped"
    )


@pytest.mark.parametrize(
    ("folder", "arguments"),
    [
        ("runs/quick", "quick"),
        ("/data/runs/quick", "quick --results /data/runs"),
        ("runs/my study/4-finalists", "4-finalists --results 'runs/my study'"),
    ],
)
def test_a_command_names_a_sweep_wherever_it_is(folder: str, arguments: str) -> None:
    assert formats.sweep_arguments(Path(folder)) == arguments
