"""How a sweep of a person's ends or is refused: by its rules, its baseline, another of its name."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.tune_app.real_sweeps import Sweeps, rows, wait_until
from tune_app.dollars.limit import SAVING_S
from tune_app.journal.costs import account_of
from tune_app.journal.endings import EndKind
from tune_app.journal.records import Status
from tune_app.sweep.dollars import spent_in

pytestmark = pytest.mark.sweeps


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, cache: Path) -> Sweeps:
    return Sweeps(tmp_path_factory.mktemp("sweeps"), small_corpus, cache)


def test_a_second_sweep_of_the_same_name_is_refused_while_the_first_runs(sweeps: Sweeps) -> None:
    folder = sweeps.path("twice")
    first = sweeps.start("twice")
    try:
        wait_until(lambda: rows(folder, "SELECT count(*) >= 1 FROM observations") == [(1,)], first)
        code, output = sweeps.run("twice")
        assert code == 2
        assert f"is already running (process {first.pid}" in output
        assert len(output.strip().splitlines()) == 1
    finally:
        first.send_signal(signal.SIGTERM)
        output, _ = first.communicate(timeout=PATIENCE_S)
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


def test_a_sweep_at_its_limit_in_dollars_pauses_and_goes_on_when_that_is_raised(
    sweeps: Sweeps,
) -> None:
    """At a dollar a second, with a limit that leaves it as long as it took to its first tokens."""
    space, folder = sweeps.folder / "paid.py", sweeps.path("paid")
    longer = sweeps.space.read_text().replace("20_480", "102_400")
    space.write_text(f"{longer}AXES = {{'glu_expansion': [2.66, 3.0]}}\n")
    priced = ("--scheduler", "none", "--dollars-per-hour", "3600")

    def run(limit: float) -> tuple[int, str]:
        code, output = sweeps.run("paid", *priced, "--max-dollars", f"{limit:.1f}", space=space)
        return code, " ".join(output.split())

    first = sweeps.start("paid", *priced, space=space)
    try:
        begun = "SELECT 1 FROM heartbeats WHERE tokens > 0"
        wait_until(lambda: rows(folder, begun) == [(1,)], first)
    finally:
        first.send_signal(signal.SIGTERM)
        output, _ = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130, output

    limit = round(2 * spent_in(folder) + SAVING_S, 1)
    code, output = run(limit)
    assert code == 75, output
    assert f"of --max-dollars {limit:g} is spent, at $3,600.00 an hour; raise" in output
    assert "The sweep ended early: paused: $" in output
    assert "Continue it with: " in output
    assert limit - SAVING_S <= spent_in(folder)
    saved = {
        path.name: max(int(one.name.split("-")[0]) for one in path.glob("*.pt"))
        for path in (folder / "checkpoints").iterdir()
    }
    with sweeps.journal("paid") as journal:
        waiting = {cell.key for cell in journal.cells() if not cell.status.ended}
        seen = {key: beat.tokens for key, beat in journal.heartbeats().items()}
        ending = journal.ending()
        assert ending is not None and ending.kind is EndKind.DOLLARS
        attempts, observed = len(journal.attempts()), journal.observations()
    assert waiting & set(saved), "something was in training"
    assert all(saved[key] >= tokens > 0 for key, tokens in seen.items())

    code, output = run(limit + 10_000)
    assert code == 0, output
    with sweeps.journal("paid") as journal:
        assert {cell.status for cell in journal.cells()} == {Status.FINISHED}
        again = {one.cell: one.resumed_from for one in journal.attempts()[attempts:]}
        assert again == {key: saved.get(key, 0) for key in waiting}, "no token is trained again"
        assert journal.observations()[: len(observed)] == observed
        account = account_of(journal)
    assert account is not None
    assert account.total == pytest.approx(account.billed, abs=1e-6)
