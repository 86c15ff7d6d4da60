"""The names for notebooks and scripts cost nothing until they are used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tune_app

ROOT = Path(__file__).parents[2]


def python(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{folder}:{ROOT}"},
    )
    return done.stdout + done.stderr


def test_importing_the_package_imports_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; before = set(sys.modules); import tune_app, tune_app.sweep;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - sys.stdlib_module_names))"
    )
    assert python(program, tmp_path) == "['tune_app']\n"


def test_every_name_is_there_and_no_other() -> None:
    for name in tune_app.__all__:
        assert getattr(tune_app, name).__name__ in (name, "load")
        assert name in dir(tune_app)
    with pytest.raises(AttributeError, match="has no attribute 'run_swep'"):
        tune_app.run_swep  # noqa: B018


def test_a_file_beside_the_notebook_that_hides_a_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("")
    output = python("from tune_app import plan_sweep", tmp_path)
    assert f"ValueError: {tmp_path}/model.py hides Stellux's own package 'model'" in output
