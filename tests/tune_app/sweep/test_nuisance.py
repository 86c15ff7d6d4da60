"""A sweep with a nuisance axis, killed, extended and continued, as people do it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.tune_app.real_sweeps import Sweeps, rows, wait_until
from tune_app.journal.records import Status

FACTORS = "[0.5, 1, 2]"


@pytest.fixture
def sweeps(tmp_path: Path, small_corpus: Path, cache: Path) -> Sweeps:
    sweeps = Sweeps(tmp_path, small_corpus, cache)
    text = sweeps.space.read_text().replace("20_480", "2_560").replace("16_384", "4_096")
    text += 'AXES = {"glu_expansion": [2.66, 3.0]}\n'
    sweeps.space.write_text(text + f'NUISANCE = {{"learning_rate_factor": {FACTORS}}}\n')
    return sweeps


@pytest.mark.sweeps
def test_a_sweep_with_a_nuisance_is_killed_and_extended_and_continued(sweeps: Sweeps) -> None:
    options = ("--scheduler", "none", "--kill-rule", "off")
    fewer = sweeps.folder / "fewer.py"
    fewer.write_text(sweeps.space.read_text().replace(FACTORS, "[1, 2]"))
    folder = sweeps.path("killed")
    process = sweeps.start("killed", *options, space=fewer)
    observed = "SELECT count(*) >= 13 FROM observations"
    wait_until(lambda: rows(folder, observed) == [(1,)], process)
    process.kill()
    process.communicate()
    attempts = dict(rows(folder, "SELECT key, attempts FROM cells WHERE status = 'finished'"))
    assert attempts, "some had finished"
    # A value and a seed more, in place of the same command: what is trained is adopted.
    code, output = sweeps.run("killed", *options, "--seeds", "0,1")
    assert code == 0, output
    assert "changed    learning rate factor 1, 2 → 0.5, 1, 2" in output
    assert "chosen on seed 0 and scored on seed 1; 3 of 3 values compared" in " ".join(
        output.split()
    )
    with sweeps.journal("killed") as journal:
        assert [cell.status for cell in journal.cells()] == [Status.FINISHED] * 12
        assert {key: journal.cell(key).attempts for key in attempts} == attempts
    designs = pd.read_csv(folder / "designs.csv")
    assert set(designs["values_compared"]) == {3} and set(designs["scored_on_seeds"]) == {1}
    assert set(designs["charged_baseline_tokens"]) == {6 * 2_560}
    assert (folder / "plots" / "by_learning_rate_factor.png").exists()
