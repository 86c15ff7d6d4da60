"""The README's lines, run in a notebook of their own as a person would run them."""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

from tests.readme import python_of_the_readme
from tests.tune_app.real_sweeps import rows


def lines_of_the_readme() -> list[str]:
    """Its Python block on notebooks, one statement a cell."""
    block = python_of_the_readme("## Notebooks and scripts")
    return [ast.get_source_segment(block, node) or "" for node in ast.parse(block).body]


def test_the_readme_has_few_lines() -> None:
    assert len(lines_of_the_readme()) <= 6


class Notebook:
    """A notebook whose cells run one after another in one kernel, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._node = nbformat.v4.new_notebook()
        resources = {"metadata": {"path": str(folder)}}
        self._client = NotebookClient(
            self._node, timeout=500, kernel_name="python3", resources=resources, allow_errors=True
        )

    def __enter__(self) -> Notebook:
        self._kernel = self._client.setup_kernel()
        self._kernel.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._kernel.__exit__(*error)

    def run(self, source: str) -> Any:
        """Runs a cell and returns its outputs by kind: text, html, error."""
        cell = nbformat.v4.new_code_cell(source)
        self._node.cells.append(cell)
        self._client.execute_cell(cell, len(self._node.cells) - 1)
        shown = {"text": "", "html": "", "error": "", "stderr": ""}
        for output in cell.outputs:
            if output.output_type == "stream":
                shown["text" if output.name == "stdout" else "stderr"] += output.text
            elif output.output_type == "error":
                shown["error"] = output.ename + ": " + output.evalue
            else:
                shown["text"] += output.data["text/plain"]
                shown["html"] += output.data.get("text/html", "")
        assert shown.pop("stderr") == "", source
        return SimpleNamespace(**shown)

    def interrupted(self, source: str, *, when: Callable[[], bool]) -> Any:
        """Runs a cell and presses the notebook's stop button once `when` is true."""

        def stop() -> None:
            while not when():
                time.sleep(0.1)
            run_sync(self._client.km.interrupt_kernel)()

        thread = threading.Thread(target=stop, daemon=True)
        thread.start()
        return self.run(source)


@pytest.mark.sweeps
def test_a_notebook_plans_runs_is_stopped_goes_on_and_loads(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STELLUX_CACHE", str(cache))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    folder, mine = tmp_path, tmp_path / "runs/mine"
    *prepare, run, table, load = lines_of_the_readme()
    with Notebook(folder) as notebook:
        for line in prepare:
            assert notebook.run(line).error == ""
        plan = notebook.run("plan")
        assert "<table" in plan.html and "Sweep mine: 3 cells" in plan.html

        stopped = notebook.interrupted(
            run, when=lambda: rows(mine, "SELECT count(*) >= 2 FROM observations") == [(1,)]
        )
        assert stopped.error == "KeyboardInterrupt: "
        assert "Sweep mine: 3 cells" in stopped.text and not {"\r", "\x1b"} & set(stopped.text)
        assert (mine / "report.html").is_file(), "written before the interruption is raised"

        done = notebook.run(run)
        assert (done.error, done.html) == ("", "")
        assert "[3/3] " in done.text and len(done.text.splitlines()) < 20
        frame = notebook.run(table)
        assert "gap_bits_per_byte" in frame.text and "<table" in frame.html
        assert notebook.run(load).error == ""
        assert "1000])" in notebook.run("logits_TV.shape").text
        assert "Sweep mine: 3 cells: " in notebook.run("sweep").html
        assert sum(attempts for (attempts,) in rows(mine, "SELECT attempts FROM cells")) > 3
