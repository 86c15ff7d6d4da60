"""More seeds for a sweep that exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tune_app.sweeps import new_journal
from tune_app.plan.wishes import Wishes
from tune_app.sweep.growing import grown, with_seeds_named


def test_seeds_are_added_to_those_of_the_sweep(tmp_path: Path) -> None:
    new_journal(tmp_path / "small/journal.sqlite3", seeds=(0, 3)).close()
    wishes = grown(Wishes(tokens=5), 3, name="small", results=tmp_path)
    assert (wishes.seeds, wishes.tokens) == ((0, 3, 1, 2, 4), 5)
    for add, wished, message in (
        (0, Wishes(), "--add-seeds is 0; it must be at least 1"),
        (1, Wishes(seeds=(1, 2)), "use one of them"),
    ):
        with pytest.raises(ValueError, match=message):
            grown(wished, add, name="small", results=tmp_path)
    with pytest.raises(ValueError, match="there is no sweep 'other' in"):
        grown(Wishes(), 1, name="other", results=tmp_path)


@pytest.mark.parametrize("option", [["--add-seeds", "2"], ["--add-seeds=2"]])
def test_a_repeated_command_names_the_seeds_and_adds_none(option: list[str]) -> None:
    arguments = with_seeds_named(["quick", *option, "--tokens", "20k"], (0, 1, 2))
    assert arguments == ["quick", "--tokens", "20k", "--seeds", "0,1,2"]
