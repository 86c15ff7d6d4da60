"""How the program's source comes into place: as a whole, also where several are sent at once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tune_app.cloud.head.bundle import bundle, code_name
from tune_app.cloud.head.unpacking import unpack_script

pytestmark = pytest.mark.skipif(shutil.which("flock") is None, reason="no flock: util-linux")


def source(folder: Path, text: str) -> Path:
    """A program of one file."""
    path = folder / "tune_app" / "sweep.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return folder


def unpack(
    root: Path, program: Path, incoming: str, environment: Mapping[str, str] = os.environ
) -> subprocess.Popen[bytes]:
    script = unpack_script(code_name(root), program / incoming, program)
    process = subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdin is not None
    process.stdin.write(bundle({"daemon.json": "{}"}, root))
    process.stdin.close()
    return process


def ended(process: subprocess.Popen[bytes]) -> int:
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    code = process.wait(20)
    return code if not said else pytest.fail(said.decode())


def test_the_source_is_replaced_and_the_one_before_stays(tmp_path: Path) -> None:
    program, root = tmp_path / "program", tmp_path / "source"
    names = []
    for number in range(3):
        names.append(code_name(source(root, str(number))))
        assert ended(unpack(root, program, f"incoming-{number}")) == 0
        assert (program / "code/tune_app/sweep.py").read_text("utf-8") == str(number)
        assert (program / f"incoming-{number}/settings/daemon.json").read_text("utf-8") == "{}"
    assert (program / "code").readlink() == Path(names[2])
    assert {path.name for path in program.glob("code-*")} == {names[1], names[2]}


def test_the_same_source_once_more_changes_nothing(tmp_path: Path) -> None:
    program, root = tmp_path / "program", source(tmp_path / "source", "1")
    assert ended(unpack(root, program, "incoming-1")) == 0
    before = (program / "code" / "tune_app").stat().st_ino
    assert ended(unpack(root, program, "incoming-2")) == 0
    assert (program / "code" / "tune_app").stat().st_ino == before


def test_several_at_once_leave_one_whole_source(tmp_path: Path) -> None:
    program = tmp_path / "program"
    roots = [source(tmp_path / str(number), str(number)) for number in range(4)]
    sent = [unpack(root, program, f"incoming-{at}") for at, root in enumerate(roots * 2)]
    assert [ended(process) for process in sent] == [0] * 8
    text = (program / "code/tune_app/sweep.py").read_text("utf-8")
    assert (program / "code").readlink() == Path(code_name(roots[int(text)]))


@pytest.mark.parametrize("fails", ["tar", "sync", "mv", "ln"])
def test_one_that_breaks_off_leaves_the_source_as_it_was(tmp_path: Path, fails: str) -> None:
    program, root = tmp_path / "program", tmp_path / "source"
    assert ended(unpack(source(root, "1"), program, "incoming-1")) == 0
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / fails).write_text("#!/bin/sh\nkill -9 $PPID\n", "utf-8")
    (tools / fails).chmod(0o755)
    told = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
    assert ended(unpack(source(root, "2"), program, "incoming-2", told)) == -9
    assert (program / "code/tune_app/sweep.py").read_text("utf-8") == "1"
    assert ended(unpack(root, program, "incoming-3")) == 0
    assert (program / "code/tune_app/sweep.py").read_text("utf-8") == "2"


def test_a_folder_of_an_earlier_kind_gives_way_to_the_link(tmp_path: Path) -> None:
    program = tmp_path / "program"
    source(program / "code", "before")
    assert ended(unpack(source(tmp_path / "source", "1"), program, "incoming-1")) == 0
    assert (program / "code/tune_app/sweep.py").read_text("utf-8") == "1"
