"""The console command, and how commands name themselves."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import tomllib
from cyclopts import App
from rich.console import Console

from tune_app.__main__ import COMMANDS, main
from tune_app.command_line import (
    command_name,
    ended_by_signals,
    fitting,
    own_arguments,
    repeated,
    run_command,
    version_text,
)
from tune_app.plan.settings import cell_settings
from tune_app.plan.space_file import known_spaces

ROOT = Path(__file__).parents[2]
APPS = (
    "tune_app.sweep.__main__",
    "tune_app.study.__main__",
    "tune_app.trial.__main__",
    "tune_app.interpret.__main__",
    "tune_app.replay.__main__",
    "tune_app.overfit",
    "tune_app.rates.__main__",
    "tune_app.presets",
    "tune_app.evaluate",
    "tune_app.export",
    "tune_app.finetune",
    "tune_app.generate",
    "tune_app.bundle",
    "tune_app.compare",
    "tune_app.dashboard",
    "tune_app.verify",
    "data.prepare",
    "tune_app.cloud.commands",
)


def test_help_names_each_command_and_imports_none_of_them() -> None:
    code = (
        "import sys; sys.argv = ['stellux', '--help']\n"
        "from tune_app.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'numpy', 'tune_app.sweep.__main__'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert all(name in shown.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_shows_its_own_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/stellux", name, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "Usage: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("sweep", "stellux sweep my_space.py --seeds 0,1 --set learning_rate=2e-3"),
        ("plan", "stellux sweep plan embedding_glu --corpus wikitext-103 --gpus 1"),
        ("trial", """stellux trial '{"d_model": 256, "embedding_ratio": null}'"""),
        ("prepare", "stellux prepare wikitext-103 --vocab-size 16000"),
        ("cloud", "stellux cloud status --cluster cluster.yaml"),
    ],
)
def test_help_shows_examples_on_lines_of_their_own(
    name: str, example: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/stellux", name, "--help"])
    monkeypatch.setenv("COLUMNS", "80")
    # Their texts name the command as it was started.
    for module in (*APPS, "tune_app.cloud.__main__"):
        if module in sys.modules:  # its package, too, has the old one again afterwards
            package, _, own = module.rpartition(".")
            monkeypatch.setattr(sys.modules[package], own, sys.modules[module], raising=False)
            monkeypatch.delitem(sys.modules, module)
    with pytest.raises(SystemExit):
        main()
    assert f"  {example}" in map(str.rstrip, capsys.readouterr().out.splitlines())


def every_command() -> Iterator[tuple[App, list[str]]]:
    """Each command line with the words of each of its commands, and without any."""
    for module in APPS:
        app = import_module(module).app
        yield app, []
        yield from ((app, [name]) for name in app.resolved_commands() if not name.startswith("-"))


def test_help_fits_the_screen_and_breaks_no_example() -> None:
    for app, words in every_command():
        for width in (80, 140):
            screen = io.StringIO()
            app.help_print(words, console=Console(file=screen, width=width))
            lines = [line.rstrip() for line in screen.getvalue().splitlines()]
            command = app[words[0]] if words else app
            assert max(map(len, lines)) <= width
            assert set((command.help_epilogue or "").splitlines()) <= set(lines), words


def test_every_option_says_its_default_and_none_always_fails() -> None:
    for app, words in every_command():
        command = app[words[0]] if words else app
        if command.default_command is None:
            continue
        for argument in command.assemble_argument_collection(parse_docstring=True):
            names, field = argument.names, argument.field_info
            assert not any(name.startswith(("--empty", "--no-")) for name in names)
            if not argument.show or not any(name.startswith("--") for name in names):
                continue
            told = str(argument.parameter.help or field.help)
            assert "\n" not in told, f"{names[0]}: a line of it would be indented"
            empty = field.default == () and argument.parameter.show_default is not False
            assert not empty, f"{names[0]} would say [default: ()]"
            shown = field.default not in (None, field.empty, ())
            assert shown or field.required or "default: " in told.lower() or "repeat" in told, names


def test_trial_names_every_setting() -> None:
    told = import_module("tune_app.trial.__main__").app.help
    names = {one.name for group in cell_settings() for one in group.settings}
    assert names <= set(re.findall(r"\w+", told))


def test_help_that_is_read_in_part_is_no_failure() -> None:
    helped = subprocess.Popen(
        [sys.executable, "-m", "tune_app", "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert helped.stdout is not None and helped.stderr is not None
    helped.stdout.close()
    assert (helped.wait(60), helped.stderr.read()) == (0, "")
    helped.stderr.close()


def test_help_names_every_search_space() -> None:
    app, _ = next(every_command())
    told = str(app.assemble_argument_collection()[0].parameter.help)
    assert all(name in told for name in known_spaces())


def test_the_version_names_what_decides_results() -> None:
    told = version_text()
    assert told.startswith("stellux 0.")
    assert all(f"{name} {version(name)}" in told for name in ("torch", "ray"))


def test_an_unknown_command_is_refused_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stellux", "sweeep"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = "".join(capsys.readouterr())
    assert '"sweeep"' in said
    assert '"sweep"' in said


def test_status_answers_for_a_sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["stellux", "status", "mine", "--results", str(tmp_path)])
    assert main() == 2
    assert "there is no sweep 'mine' in" in capsys.readouterr().err


def test_a_fresh_or_missing_folder_has_no_sweeps_yet_and_a_file_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stellux", "list"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "no sweeps in runs/ yet; start one with: " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["stellux", "list", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "no sweeps in nowhere/ yet" in capsys.readouterr().out
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["stellux", "list", "file"])
    assert main() == 2
    assert "'file' is a file; name the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "name", "again", "own"),
    [
        (["bin/stellux", "sweep", "a b"], "stellux sweep", "bin/stellux sweep 'a b'", ["a b"]),
        (["x/tune_app/sweep/__main__.py", "q"], "python -m tune_app.sweep", "sweep q", ["q"]),
        (["x/tune_app/__main__.py", "sweep", "q"], "stellux sweep", "tune_app sweep q", ["q"]),
    ],
)
def test_a_command_is_named_and_repeated_as_it_was_typed(
    typed: list[str], name: str, again: str, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", typed)
    assert command_name("tune_app.sweep") == name
    assert own_arguments() == own
    assert repeated("tune_app.sweep", own_arguments()).endswith(again)


def test_what_the_console_runs_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, function = project["scripts"]["stellux"].partition(":")
    assert callable(getattr(import_module(module), function))


def test_a_file_in_the_working_folder_that_hides_a_package_is_named_and_not_run(
    tmp_path: Path,
) -> None:
    (tmp_path / "model.py").write_text("open('i-ran', 'w')")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("open('i-ran', 'w')")
    for module, hiding in (("sweep", "data"), ("trial", "data"), ("cloud", "data")):
        done = subprocess.run(
            [sys.executable, "-m", f"tune_app.{module}", "--help"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {tmp_path / hiding} hides Stellux's own package")
        assert "start in another folder, or use the command `stellux`" in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "i-ran").exists()


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_messages_are_broken_between_words_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    path = "/a/path/of/forty/letters/and-of/some/more"
    text = f"error: the sweep in the folder {path} is already running; wait for it"
    assert fitting(text, io.StringIO()) == text
    lines = fitting(text, Screen()).split("\n")
    assert " ".join(lines) == text
    assert max(len(line) for line in lines if line != path) <= 40


def test_a_file_in_the_working_folder_hides_no_library(tmp_path: Path) -> None:
    for name in ("statistics", "torch", "helper"):
        (tmp_path / f"{name}.py").write_text("WHERE = 'here'")
    code = (
        "import sys\n"
        "sys.path[0] = ''\n"  # as in `python -m`
        "from tune_app.command_line import search_working_folder_last\n"
        "search_working_folder_last()\n"
        "import statistics\n"
        "assert not hasattr(statistics, 'WHERE')\n"
        "import helper\n"  # what a space of the user's imports is still found
        "del sys.modules['helper']\n"
        "sys.path.insert(0, '')\n"
        "import torch\n"  # as if one of our packages had imported it before
        "search_working_folder_last()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1].startswith(
        f"ValueError: {tmp_path / 'torch.py'} hides the module 'torch' that Stellux needs; start"
    )


@pytest.mark.parametrize("folder", ["/", sysconfig.get_path("stdlib")])
def test_neither_the_root_nor_a_folder_of_python_itself_hides_anything(folder: str) -> None:
    """A service starts in the root; modules without a file are not in it."""
    done = subprocess.run(
        [sys.executable, "-m", "tune_app.sweep", "--version"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


WRITES = """
import sys
from tune_app.command_line import lasting_console
console = lasting_console()
for number in range(20_000):
    console.print(f"line {number} of what nobody reads any more")
open(sys.argv[1], "w").write("written all the same")
"""


@pytest.mark.sweeps
def test_what_writes_goes_on_when_its_reader_ends(tmp_path: Path) -> None:
    kept = tmp_path / "results"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITES, kept], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "line 0 of what nobody reads any more\n"
    writer.stdout.close()
    assert writer.wait(60) == 0
    assert kept.read_text() == "written all the same"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_to_end_are_as_ctrl_c(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_ctrl_c_is_answered_with_the_command_to_repeat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = App(result_action="return_value")

    @app.default
    def main() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/stellux", "sweep", "mine"])
    assert run_command(app, "tune_app.sweep", []) == 130
    assert "interrupted; continue with:" in capsys.readouterr().err


def test_a_checkout_in_a_path_with_a_space_is_refused_by_make(tmp_path: Path) -> None:
    folder = tmp_path / "my things"
    folder.mkdir()
    (folder / "Makefile").write_text((ROOT / "Makefile").read_text("utf-8"))
    done = subprocess.run(
        ["make", "sweep"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "move the checkout to a path without spaces" in done.stderr
    assert not (folder / ".venv").exists()
