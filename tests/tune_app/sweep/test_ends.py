"""How a sweep of a person's ends or is refused: by its rules, its baseline, another of its name."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.tune_app.real_sweeps import Sweeps, rows, wait_until
from tune_app.journal.records import Status

pytestmark = pytest.mark.sweeps


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, cache: Path) -> Sweeps:
    return Sweeps(tmp_path_factory.mktemp("sweeps"), small_corpus, cache)


def test_a_second_sweep_of_the_same_name_is_refused_while_the_first_runs(sweeps: Sweeps) -> None:
    folder = sweeps.path("twice")
    first = sweeps.start("twice")
    try:
        wait_until(
            lambda: rows(folder, "SELECT count(*) >= 1 FROM observations") == [(1,)], first, 120
        )
        code, output = sweeps.run("twice")
        assert code == 2
        assert f"is already running (process {first.pid}" in output
        assert len(output.strip().splitlines()) == 1
    finally:
        first.send_signal(signal.SIGTERM)
        output, _ = first.communicate(timeout=60)
    assert first.returncode == 130, output


def test_a_deliberately_bad_cell_is_killed_by_the_rule_with_its_evidence(sweeps: Sweeps) -> None:
    space = sweeps.folder / "bad.py"
    space.write_text(sweeps.space.read_text() + "AXES = {'learning_rate': [1e-2, 1e-6]}\n")
    code, output = sweeps.run("bad", "--scheduler", "none", space=space)
    assert code == 0, output
    with sweeps.journal("bad") as journal:
        (decision,) = [item for item in journal.decisions() if item.rule == "kill_rule"]
        bad = journal.cell(decision.cell)
        assert bad.values["learning_rate"] == 1e-6
        assert bad.status is Status.STOPPED
        evidence = decision.evidence["evaluations"]
        assert len(evidence) >= 4
        assert evidence[-1]["tokens"] - evidence[0]["tokens"] >= 0.3 * 20_480
        assert all(entry["value"] - entry["baseline"] >= 0.5 for entry in evidence)
        assert len(journal.observations(bad.key)) < 10
    assert "worse than the baseline" in output
    decisions = (sweeps.path("bad") / "decisions.jsonl").read_text().splitlines()
    assert any(json.loads(line)["rule"] == "kill_rule" for line in decisions)


def test_a_baseline_that_diverges_ends_the_sweep(sweeps: Sweeps) -> None:
    space = sweeps.folder / "diverging.py"
    text = sweeps.space.read_text().replace("1e-2", "1e30")
    space.write_text(text.replace("FIXED = {", "FIXED = {'gradient_clip': 1e30, "))
    code, output = sweeps.run("diverging", space=space)
    assert code == 1, output
    assert "the baseline diverged" in output
    assert "Continue it with" not in output
    code, output = sweeps.run("diverging", space=space)
    assert code == 1, "nothing is trained that could not be compared"
    assert "start another sweep with other settings under another --name" in " ".join(
        output.split()
    )
    assert "the same command" not in output, "one remedy"
