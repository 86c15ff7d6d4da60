"""Who may import whom inside the cloud: no circle, no arrow up, nothing behind a command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import tune_app.cloud

CLOUD = Path(tune_app.cloud.__file__).parent
PACKAGE = "tune_app.cloud"

# From the bottom to the top; a folder imports from those that it names, and from itself.
MAY_IMPORT: Mapping[str, Set[str]] = {
    "errors": set(),
    "whole_files": set(),
    "settings_reader": set(),
    "head_paths": set(),
    "market": set(),
    "steady_clock": set(),
    "secrets": {"whole_files"},
    "vast": {"errors", "market", "secrets"},
    "hetzner": {"errors", "secrets", "whole_files"},
    "ledger": {"errors", "market"},
    "renting": {"errors", "settings_reader", "ledger", "market", "steady_clock"},
    "open_market": {"market", "secrets", "vast"},
    "overlay": {"settings_reader", "market", "secrets", "whole_files"},
    "node": {"settings_reader", "market", "overlay", "whole_files"},
    "daemon": {
        "errors",
        "ledger",
        "market",
        "open_market",
        "overlay",
        "renting",
        "secrets",
        "steady_clock",
        "whole_files",
    },
    "cluster_yaml": {
        "head_paths",
        "hetzner",
        "market",
        "node",
        "open_market",
        "overlay",
        "renting",
        "settings_reader",
    },
    "head": {
        "cluster_yaml",
        "daemon",
        "errors",
        "head_paths",
        "ledger",
        "market",
        "open_market",
        "node",
        "overlay",
        "renting",
        "secrets",
        "settings_reader",
        "whole_files",
    },
    "sweep_service": {"daemon", "head", "head_paths", "node", "overlay", "whole_files"},
    "head_machine": {
        "cluster_yaml",
        "errors",
        "head",
        "head_paths",
        "hetzner",
        "overlay",
        "market",
        "open_market",
        "renting",
        "whole_files",
    },
    "autoscaling": {
        "cluster_yaml",
        "daemon",
        "errors",
        "head",
        "head_machine",
        "head_paths",
        "market",
        "overlay",
        "renting",
        "secrets",
    },
    "provider": {
        "autoscaling",
        "cluster_yaml",
        "daemon",
        "errors",
        "head",
        "head_machine",
        "overlay",
        "renting",
    },
    "status_lines": {"daemon"},
    "driver": {"sweep_service"},
    "reaping": {"daemon", "head_machine", "market", "overlay", "renting"},
    "commands": {
        "daemon",
        "errors",
        "head",
        "head_machine",
        "reaping",
        "rehearsing",
        "secrets",
        "status_lines",
        "sweep_service",
    },
    "rehearsal": {"errors", "market", "renting", "vast"},
    "rehearsing": {"market", "rehearsal", "secrets", "vast"},
    "__main__": {"commands"},
}

Import = tuple[str, str, str]
"""Folder, or file beside the folders; the same of what it imports; and both in full."""


def imports(root: Path) -> Iterator[Import]:
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        own = place.parts[0] if len(place.parts) > 1 else place.stem
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                inside = name.removeprefix(f"{PACKAGE}.")
                if inside != name:
                    yield own, inside.split(".")[0], f"{place} imports {name}"


def faults(found: Iterator[Import], may: Mapping[str, Set[str]]) -> list[str]:
    return [
        said
        for own, other, said in found
        if (own != other and other not in may.get(own, set())) or "__main__" in said.split()[-1]
    ]


def circle(may: Mapping[str, Set[str]]) -> list[str]:
    """Folders on a circle of the table, or [] where it has none."""
    left = dict(may)
    while ground := [name for name, others in left.items() if not set(others) & set(left)]:
        for name in ground:
            del left[name]
    return sorted(left)


def test_no_folder_imports_what_the_table_does_not_allow() -> None:
    found = list(imports(CLOUD))
    assert len(found) > 200
    assert faults(iter(found), MAY_IMPORT) == []


def test_the_table_has_no_circle_and_no_line_too_many() -> None:
    assert circle(MAY_IMPORT) == []
    used = {(own, other) for own, other, _ in imports(CLOUD) if own != other}
    assert {(own, other) for own, others in MAY_IMPORT.items() for other in others} == used


def test_every_folder_and_file_has_its_line_and_says_its_job() -> None:
    there = {path.name for path in CLOUD.iterdir() if (path / "__init__.py").is_file()}
    there |= {path.stem for path in CLOUD.glob("*.py")} - {"__init__"}
    assert there == set(MAY_IMPORT)
    for path in CLOUD.rglob("__init__.py"):
        said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        if path.parent not in {CLOUD, CLOUD / "head" / "units"}:
            assert "Imports" in said, path


def test_what_is_said_of_where_something_is_decided_is_there() -> None:
    text = (CLOUD / "README.md").read_text("utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|")][2:]
    for _, question, decided, carried_out, _ in rows:
        named = re.findall(r"`([\w/]+(?:\.py|/))`", decided + carried_out)
        assert len(named) >= 2, question
        assert [name for name in named if not (CLOUD / name).exists()] == [], question


def test_messages_name_the_cluster_s_own_market() -> None:
    """Only what is of one market says its name: others have it from its `MarketSite`."""
    own = {"vast", "rehearsal"}
    named = []
    for path in CLOUD.rglob("*.py"):
        if path.relative_to(CLOUD).parts[0] in own:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        comments = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        named += [
            f"{path.relative_to(CLOUD)}: {node.value[:60]!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if node not in comments and "vast.ai" in node.value.lower()
        ]
    assert named == []


def test_what_is_against_the_floors_is_found(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "file.py").write_text(
        "from tune_app.cloud.errors import CloudError\n"
        "from tune_app.cloud.renting.verdicts import judge\n"
        "from tune_app.cloud.ledger.__main__ import app\n",
        "utf-8",
    )
    assert faults(imports(tmp_path), MAY_IMPORT) == [
        "ledger/file.py imports tune_app.cloud.renting.verdicts.judge",
        "ledger/file.py imports tune_app.cloud.ledger.__main__.app",
    ]
    assert circle({**MAY_IMPORT, "ledger": {"renting"}}) != []
