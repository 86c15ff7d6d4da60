"""TensorBoard's files, read back: a directory a cell, steps in tokens, the journal's values."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from tests.tune_app.journals import make_journal, play
from tune_app.journal.journal import Journal
from tune_app.results.mirrors.tensorboard import (
    TensorBoardListener,
    directory_name,
    write_tensorboard,
)

Scalars = dict[str, dict[int, float]]


def _events(folder: Path) -> list[Event]:
    """Of all files of a directory: records of a length, its checksum, an event, its checksum."""
    events = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event()
            event.ParseFromString(data[place + 12 : place + 12 + length])
            events.append(event)
            place += length + 16
    return events


def _scalars(folder: Path) -> Scalars:
    scalars: Scalars = {}
    for event in _events(folder):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Journal]:
    folder = tmp_path_factory.mktemp("tensorboard")
    listener = TensorBoardListener(folder / "live")
    journal = make_journal(folder / "journal.sqlite3", listener=listener)
    write_tensorboard(journal, folder / "rebuilt")
    return folder, journal


@pytest.mark.parametrize("made", ["live", "rebuilt"])
def test_a_directory_a_cell_with_the_journal_s_values(
    sweep: tuple[Path, Journal], made: str
) -> None:
    folder, journal = sweep
    directories = sorted(path.name for path in (folder / made).iterdir())
    assert len(directories) == 11, "every cell but the infeasible one"
    assert directories[0] == "00_35%_×_2.66"
    cell = journal.cells()[0]
    scalars = _scalars(folder / made / directories[0])
    curve = journal.observations(cell.key)
    assert scalars["dev/bits_per_byte"] == pytest.approx(
        {point.baseline_tokens: point.bits_per_byte for point in curve}
    )
    assert scalars["dev/full_bits_per_byte"] == pytest.approx(
        {150_000: curve[-1].full_bits_per_byte}
    )
    assert {
        "dev/perplexity",
        "train/loss",
        "train/learning_rate",
        "train/tokens_per_second",
    } < set(scalars)


def test_times_say_how_long_a_cell_took(sweep: tuple[Path, Journal]) -> None:
    folder, journal = sweep
    curve = journal.observations(journal.cells()[0].key)
    times = {e.step: e.wall_time for e in _events(folder / "rebuilt" / "00_35%_×_2.66") if e.step}
    elapsed = times[curve[-1].tokens] - times[curve[0].tokens]
    spent = sum(curve[-1].seconds.values()) - sum(curve[0].seconds.values())
    assert elapsed == pytest.approx(spent, abs=1e-3)


def test_values_that_are_no_numbers_are_left_out(sweep: tuple[Path, Journal]) -> None:
    folder, _ = sweep
    scalars = _scalars(folder / "rebuilt" / "08_45%_×_2")
    assert set(scalars["dev/bits_per_byte"]) == {18_750, 37_500}


def test_the_settings_page_knows_the_cell(sweep: tuple[Path, Journal]) -> None:
    folder, _ = sweep
    tags = {
        value.tag
        for event in _events(folder / "live" / "00_35%_×_2.66")
        for value in event.summary.value
    }
    assert "_hparams_/session_start_info" in tags


def test_a_continued_sweep_appends(tmp_path: Path) -> None:
    axes = {"embedding": ("tied",)}
    target = tmp_path / "tensorboard"
    first = TensorBoardListener(target)
    journal = make_journal(
        tmp_path / "j", axes=axes, fates={("tied",): "running 3"}, listener=first
    )
    (target / "of_another_time").mkdir()
    second = TensorBoardListener(target)
    second.sweep_started(journal)
    for _ in play(journal, journal.cells()[0], "finished", 150_000, second):
        pass
    second.sweep_ended()
    assert [path.name for path in target.iterdir()] == ["00_tied"]
    assert len(_scalars(target / "00_tied")["dev/bits_per_byte"]) == 8
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_any_label_makes_a_directory(sweep: tuple[Path, Journal]) -> None:
    cell = sweep[1].cells()[0]
    names = [
        directory_name(replace(cell, label=label)) for label in ("a/b × $c$ [red]", "é" * 300, "..")
    ]
    assert names[0] == "00_a_b_×_c_red_"
    assert all(len(name.encode()) < 210 and "/" not in name for name in names)
