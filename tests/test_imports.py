"""Who may import whom: a part that knows little of the others can be used without them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.floors import COMMAND_LINES, ENTRY_POINTS, FLOORS, ONLY_IN

ROOT = Path(__file__).parent.parent
PACKAGES = ("benchmarks", "data", "model", "search_spaces", "tune_app")


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name; a package by the package's."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def imported(path: Path) -> tuple[str, ...]:
    """The modules that a file names in its imports, those inside functions included."""
    return tuple(_imported(ast.parse(path.read_text("utf-8"))))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in whole)


def room_of(module: str) -> str:
    """The narrowest room of FLOORS that a module lies in."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in FLOORS:
            return ".".join(parts[:length])
    raise AssertionError(f"{module} lies in no room; give its folder a line in tests/floors.py")


def may_import(module: str, name: str) -> bool:
    room, other = room_of(module), room_of(name)
    allowed = {*FLOORS[room], *COMMAND_LINES.get(module, ())}
    inside = room == other or any(other == one or other.startswith(f"{one}.") for one in allowed)
    return inside or name.split(".", maxsplit=1)[0] in COMMAND_LINES.get(module, ())


def trespassers(files: Mapping[str, Path]) -> list[str]:
    """Each import that FLOORS does not allow."""
    return [
        f"{module} imports {name}: {room_of(module)} may import "
        f"{', '.join(FLOORS[room_of(module)]) or 'nothing of the project'}"
        for module, path in files.items()
        for name in imported(path)
        if name.split(".")[0] in PACKAGES and not may_import(module, name)
    ]


def test_each_room_imports_only_from_the_floors_below() -> None:
    assert trespassers(MODULES) == []


def test_an_import_against_the_floors_is_found(tmp_path: Path) -> None:
    climbing = tmp_path / "climbing.py"
    climbing.write_text(
        "def late() -> None:\n    from tune_app.results.summary import summarize\n", "utf-8"
    )
    (found,) = trespassers({"tune_app.stopping.climbing": climbing})
    assert "tune_app.stopping.climbing imports tune_app.results.summary" in found


def test_the_floors_have_an_order() -> None:
    order = list(FLOORS)
    for room, allowed in FLOORS.items():
        for other in allowed:
            inside = [name for name in order if name == other or name.startswith(f"{other}.")]
            assert all(order.index(name) < order.index(room) for name in inside), (room, other)


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {
        module: {name for name in imported(path) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"an import circle: {' imports '.join(reversed(error.args[1]))}")


@pytest.mark.parametrize("library", ONLY_IN)
def test_heavy_libraries_stay_in_their_rooms(library: str) -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        for name in imported(path)
        if name.split(".")[0] == library
        and module.split(".")[0] != "benchmarks"
        and not any(module == one or module.startswith(f"{one}.") for one in ONLY_IN[library])
    ]
    assert wrong == []


def test_only_the_training_opens_the_door_to_ray() -> None:
    doors = {
        module
        for module, path in MODULES.items()
        if module.split(".")[0] == "tune_app" and not module.startswith("tune_app.on_ray")
        if any(name.startswith("tune_app.on_ray") for name in imported(path))
    }
    assert doors == {"tune_app.sweep.training"}


def test_nothing_else_needs_what_ray_loads() -> None:
    """Ray's launcher and autoscaler load these by name; the rest of the cloud runs without Ray."""
    for_ray = {name for name in ONLY_IN["ray"] if name.startswith("tune_app.cloud")}
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if module not in for_ray
        for name in imported(path)
        if name in for_ray
    ]
    assert wrong == []


def test_nobody_imports_a_command_line() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        for name in imported(path)
        if name.endswith(".__main__") and name.split(".")[0] in PACKAGES
        if module not in ENTRY_POINTS
    ]
    assert wrong == []


def test_every_folder_says_its_job() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in MODULES.values()
        if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    without = [
        str(folder.relative_to(ROOT))
        for folder in {path.parent for path in MODULES.values()}
        if not (folder / "__init__.py").is_file()
    ]
    assert (silent, without) == ([], [])


def test_nothing_happens_when_a_module_is_imported() -> None:
    quiet = ("data", "search_spaces", "tune_app.terminal", "tune_app.results", "tune_app.plan")
    names = [module for module in MODULES if module.startswith(quiet)]
    program = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-c", program, *names],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
