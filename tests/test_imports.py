"""Who may import whom: a part that knows little of the others can be used without them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("benchmarks", "data", "model", "search_spaces", "tune_app")

FORBIDDEN = {
    "data": {"torch", "model", "ray", "tune_app", "search_spaces", "benchmarks"},
    "model": {"data", "ray", "tune_app", "search_spaces", "benchmarks"},
    "search_spaces": {"ray", "torch", "tune_app", "model", "data", "benchmarks"},
    "tune_app": {"ray", "benchmarks"},
    "tune_app/cloud": {"torch", "model", "data", "search_spaces", "benchmarks"},
    "tune_app/on_ray": {"benchmarks"},
    "tune_app/results": {"ray", "torch", "model", "data"},
    "tune_app/terminal": {"ray", "torch", "model", "data"},
}

# Ray's cluster launcher and autoscaler load these by name; the rest of the cloud runs without Ray.
FOR_RAY = {"tune_app/cloud/provider.py", "tune_app/cloud/autoscaling/ssh_runner.py"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    if package == "tune_app":
        return [
            path
            for path in found
            if "on_ray" not in path.parts and str(path.relative_to(ROOT)) not in FOR_RAY
        ]
    return found


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_directions_of_import(package: str) -> None:
    paths = files(package)
    assert paths
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imported(path)
        if name.split(".")[0] in FORBIDDEN[package]
    ]
    assert wrong == []


def test_only_the_run_opens_the_door_to_ray() -> None:
    doors = {
        str(path.relative_to(ROOT))
        for path in files("tune_app")
        if any(name.startswith("tune_app.on_ray") for name in imported(path))
    }
    assert doors == {"tune_app/sweep/run.py"}


def test_nothing_else_needs_what_ray_loads() -> None:
    modules = {name.removesuffix(".py").replace("/", ".") for name in FOR_RAY}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files("tune_app")
        for name in imported(path)
        if name in modules
    ]
    assert wrong == []


def test_nothing_happens_when_a_module_is_imported() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("data", "search_spaces", "tune_app/terminal", "tune_app/results")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__init__.py"
    ]
    program = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-c", program, *modules],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
