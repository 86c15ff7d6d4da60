"""`stellux shapes`: what the solver chooses from."""

from __future__ import annotations

import pytest

from tune_app.command_line import run_command
from tune_app.sweep.__main__ import app


def shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> list[str]:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as ended:
        run_command(app, "tune_app.sweep", ["shapes", *words])
    assert not ended.value.code
    return capsys.readouterr().out.splitlines()


def test_each_cell_has_its_admissible_depths_and_one_of_them_is_taken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, "quick", "--seeds", "3,4")
    rows = [" ".join(line.split()) for line in lines[2:-3]]
    taken = [row for row in rows if "taken" in row]
    assert len(taken) == 12
    assert taken[0] == "taken 8 80 2×40 1.00 216 2.70 948.6k 6.18 0.22"
    assert rows[0].startswith("35% × 2.66 4 80 2×160"), "named without a seed"
    assert f"{len(rows)} shapes of 12 cells" in " ".join(lines)
