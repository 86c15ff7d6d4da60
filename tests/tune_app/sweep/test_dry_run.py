"""`plan` in front of the options of a sweep: the same checks, and nothing is left behind."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from tune_app.command_line import run_command
from tune_app.sweep.__main__ import app, plan, run

SPACE = """
AXES = {"glu_expansion": [2.0, 2.66, 3.0]}
FIXED = {
    "target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32,
    "tokens": 4_096, "batch_size": 4, "evaluations": 6, "evaluation_bytes": 1_024,
    "corpus": %r,
}
KILL_RULE = {"span_fraction": 0.3}
"""


def code_of(*words: str) -> int:
    """Runs a command in this process."""
    try:
        return run_command(app, "tune_app.sweep", words)
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A sweep's own command, without the command's name."""
    monkeypatch.setenv("STELLUX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    sentences = "\n\n".join(f"{n} words say that {n * n} is a square" for n in range(600))
    (tmp_path / "squares.txt").write_text(sentences)
    (tmp_path / "mine.py").write_text(SPACE % str(tmp_path / "squares.txt"))
    return [str(tmp_path / "mine.py"), "--results", str(tmp_path / "runs"), "--device", "cpu"]


def test_a_plan_shows_cells_rules_and_time_and_leaves_no_trace(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--seeds", "0", "1", "--cpus", "1", "--cells-at-once", "1"]
    assert code_of("plan", *words, *options) == 0
    shown = capsys.readouterr().out
    assert "6 of 6 cells are feasible; 4.1k tokens each" in shown
    assert (
        "scheduler   asha, all cells pause and the best 1/2 go on at 1,024, 2,048 tokens" in shown
    )
    assert "kill rule   stop at" in shown
    assert f"results     {tmp_path / 'runs' / 'mine'} (new)" in shown
    assert "device      cpu, 1 CPU per cell, on this machine" in shown
    assert "for 6 cells, 1 at once, then " in " ".join(shown.split())
    assert "to score leader and baseline on the test split; measured on cpu" in " ".join(
        shown.split()
    )
    assert "Nothing was started. Start it with: " in shown
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cuda:7"], "device 'cuda:7' is not available on this machine; choose auto"),
        (["--device", "tpu"], "device 'tpu' is not available on this machine; choose auto"),
        (["--corpus", "nowhere.txt"], "nowhere.txt"),
        (["--checkpoints", "/dev/null/x"], "choose another --checkpoints"),
        (["--cpus", "9999"], "use at most --cpus"),
        (["--set", "compile=true"], "compile is True; it must be one of auto, on, off"),
    ],
)
def test_a_plan_refuses_what_the_sweep_would_refuse(
    options: list[str], message: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("plan", *words[:3], *options) == 2
    assert message in capsys.readouterr().err


def test_a_plan_takes_every_option_of_the_sweep() -> None:
    def options(command: Any) -> Any:
        return [(one.name, one.annotation, one.default) for one in _parameters(command)]

    assert options(plan) == options(run)


def _parameters(command: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(command).parameters.values())


@pytest.mark.parametrize("words", [["plan", "--set", "help"], ["settings"], ["--set", "help"]])
def test_the_settings_can_be_asked_for(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(*words) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("learning_rate", "d_ff", "reduction_factor"))
