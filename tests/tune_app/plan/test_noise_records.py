"""Recorded noise is used only for sweeps like those that it was measured in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tune_app.plan.noise_records import fitting, read_records, recorded_noise
from tune_app.plan.plan import make_plan
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Wishes

HEADER = (
    "corpus,target_parameters,tokens,learning_rate,parametrization,"
    "sigma,degrees_of_freedom,runs,source"
)
LINE = "stdlib,950000,150000,0.004,depth_mup,0.017,16,20,measured"
CELL = {"corpus": "stdlib", "target_parameters": 950_000, "tokens": 150_000}


def _read(path: Path, *lines: str, header: str = HEADER) -> Any:
    (path / "noise.csv").write_text("\n".join([header, *lines]) + "\n", "utf-8")
    return read_records(path / "noise.csv")


def test_the_records_that_come_along_are_whole() -> None:
    records = recorded_noise()
    assert records and all(record.source for record in records)
    old = fitting(records, [{**CELL, "batch_size": 8}])
    assert old is not None and (old.sigma, old.degrees_of_freedom, old.runs) == (0.017, 16, 20)


def test_the_noise_of_the_default_sweep_is_recorded() -> None:
    plan = make_plan(load_space("quick"), Wishes())
    assert fitting(recorded_noise(), [cell.values for cell in plan.cells]) is not None, (
        "the defaults have changed: measure the noise with --seeds 0,1,2 and add a line"
    )


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ({}, True),
        ({"seed": 7, "embedding_ratio": 0.45}, True),
        ({"tokens": 225_000}, True),
        ({"tokens": 226_000}, False),
        ({"tokens": 1_500_000}, False),
        ({"tokens": 15_000}, False),
        ({"target_parameters": 10_000_000}, False),
        ({"corpus": "wikitext-2"}, False),
        ({"parametrization": "complete_p"}, False),
        ({"learning_rate": 0.008}, False),
    ],
)
def test_a_record_holds_for_its_kind_of_sweep_alone(
    tmp_path: Path, values: dict[str, Any], fits: bool
) -> None:
    records = _read(tmp_path, LINE)
    found = fitting(records, [CELL, {**CELL, **values}])
    assert (found is not None) is fits


def test_of_two_records_the_one_with_the_nearest_tokens_counts(tmp_path: Path) -> None:
    longer = LINE.replace("150000", "210000").replace("0.017", "0.012")
    records = _read(tmp_path, LINE, longer)
    for tokens, sigma in ((150_000, 0.017), (175_000, 0.017), (200_000, 0.012)):
        found = fitting(records, [{**CELL, "tokens": tokens}])
        assert found is not None and found.sigma == sigma
    assert fitting(records, []) is None


def test_an_empty_field_is_not_compared(tmp_path: Path) -> None:
    records = _read(tmp_path, LINE.replace("0.004", ""))
    assert fitting(records, [{**CELL, "learning_rate": 0.1}]) is not None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.replace("0.017", "big"), "line 2: sigma is 'big'; it must be a number"),
        (LINE.replace("0.017", "nan"), "line 2: sigma is nan; it must be a positive number"),
        (LINE.replace("0.017", "0"), "sigma is 0.0; it must be a positive number"),
        (LINE.replace("16,20", "16.5,20"), "degrees_of_freedom is '16.5'; it must be a whole"),
        (LINE.replace("16,20", "20,20"), "degrees_of_freedom is 20; .* less than runs, 20"),
        (LINE.replace("stdlib", ""), "corpus is empty"),
        (LINE.replace("150000", "-1"), "tokens is -1; it must be at least 1"),
        (LINE.replace("measured", ""), "source is empty; say how it was measured"),
        (LINE + ",more", "another number of fields than the header"),
        ("stdlib,950000", "another number of fields than the header"),
        (f"{LINE}\n{LINE}", "line 3: it is for the same sweeps as an earlier line"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, line)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "the column corpus is missing"),
        (HEADER.replace("learning_rate", "learning_rat"), "did you mean learning_rate"),
        (HEADER.replace("learning_rate", "deterministic"), "unknown column 'deterministic'"),
        (HEADER.replace("learning_rate", "tokens"), "the column tokens is there twice"),
    ],
)
def test_a_malformed_header_is_named(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, LINE, header=header)
