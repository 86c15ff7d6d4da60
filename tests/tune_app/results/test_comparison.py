"""Sweeps are ranked together only if they may be; of others it says in what they differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.journals import make_journal
from tune_app import compare as command
from tune_app.results.comparison import behind_text, compare
from tune_app.results.summary import SweepResults


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    made = {
        "one": {"axes": {"embedding": ("tied", "untied")}, "seeds": (0, 1)},
        "two": {"axes": {"feed_forward": ("swiglu", "relu2")}},
        "longer": {"axes": {"embedding": ("tied",)}, "tokens": 300_000},
    }
    for name, what in made.items():
        (folder / name).mkdir()
        make_journal(folder / name / "journal.sqlite3", **what).close()  # type: ignore[arg-type]
    return folder


def test_designs_of_comparable_sweeps_are_one_ranking(runs: Path) -> None:
    one, two, longer = command._opened(["one", "two", str(runs / "longer")], runs)
    found = compare([one, two, longer])
    first, second = found.groups
    assert [sweep.sweep.name for sweep in first.sweeps] == ["one", "two"]
    scores = [entry.design.mean for entry in first.ranking]
    assert len(scores) == 4 and scores == sorted(scores, key=float)  # type: ignore[arg-type]
    assert behind_text(first.ranking[0]) == "first"
    assert first.noise is not None and " σ)" in behind_text(first.ranking[-1])
    assert second.noise is None and [one.sweep for one in second.ranking] == ["longer"]
    assert found.differences == (
        "one and longer are not ranked together; they differ in tokens (baseline tokens of a "
        "cell): 150,000 and 300,000",
    )


def test_another_text_is_named(runs: Path) -> None:
    one, two = command._opened(["one", "two"], runs)
    other: SweepResults = replace(two, sweep=replace(two.sweep, corpus_sha256="f" * 64))
    (told,) = compare([one, other]).differences
    assert "corpus (the text, and with it the dev split)" in told and "ffffffffffff…" in told


def test_the_command_line_shows_both_and_refuses_one(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert (
        command.app(
            ["one", "two", "--rows", "3", "--results", str(runs)], result_action="return_value"
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert "1 more; --rows shows them" in shown and "│ two " in shown
    with pytest.raises(ValueError, match="1 sweep to compare; name two or more"):
        command._opened(["one", str(runs / "one")], runs)
    with pytest.raises(ValueError, match="there is no sweep 'three'"):
        command._opened(["one", "three"], runs)
