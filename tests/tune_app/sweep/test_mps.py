"""CUDA MPS is started where it can be, and ended; a program of its name stands for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tune_app.sweep.mps import LOGS, PIPES, PROGRAM, overlapping

REACHED = "import os; assert os.environ['CUDA_MPS_PIPE_DIRECTORY']"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs, before the others of the machine, which has no MPS."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv(PIPES, raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path


def install(machine: Path, *, exit_code: int = 0) -> Path:
    """Installs a daemon that writes what it is asked for to a file."""
    said = machine / "said"
    program = machine / "bin" / PROGRAM
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$1 in $CUDA_MPS_PIPE_DIRECTORY" >> {said}\n'
        f'[ "$1" = -d ] || cat >> {said}\n'
        f"[ {exit_code} = 0 ] || echo 'An instance may not run here' >&2\n"
        f"exit {exit_code}\n"
    )
    program.chmod(0o755)
    return said


def test_it_runs_inside_the_block_and_is_ended_with_it(machine: Path) -> None:
    said = install(machine)
    with overlapping(usual_pipes=machine / "none", trial=REACHED) as how:
        assert how == "CUDA MPS"
        folder = os.environ[PIPES]
        assert os.environ[LOGS] == folder and Path(folder).is_dir()
    assert said.read_text() == f"-d in {folder}\n in {folder}\nquit\n"
    assert PIPES not in os.environ and not Path(folder).exists()


@pytest.mark.parametrize(
    ("exit_code", "trial", "why"),
    [
        (1, REACHED, "An instance may not run here"),
        (0, "raise SystemExit('no connection')", "no process reaches a GPU through it: no connec"),
    ],
)
def test_where_it_cannot_be_used_cells_take_turns(
    exit_code: int, trial: str, why: str, machine: Path
) -> None:
    said = install(machine, exit_code=exit_code)
    with overlapping(usual_pipes=machine / "none", trial=trial) as how:
        assert how.startswith(f"time slicing, as CUDA MPS cannot be used here ({why}")
        assert PIPES not in os.environ
    assert said.read_text().count("quit") == (0 if exit_code else 1), "none that started is left"


def test_where_there_is_none_cells_take_turns(machine: Path) -> None:
    with overlapping(usual_pipes=machine / "none") as how:
        assert how.startswith(f"time slicing, as there is no {PROGRAM} here")


def test_one_that_runs_is_used_and_left_alone(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = install(machine)
    (machine / "control").touch()
    with overlapping(usual_pipes=machine) as how:
        assert how == "CUDA MPS, which runs already"
    monkeypatch.setenv(PIPES, "/somewhere")
    with overlapping(usual_pipes=machine / "none") as how:
        assert how == "CUDA MPS, which runs already"
    assert not said.exists()
