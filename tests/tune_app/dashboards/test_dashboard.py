"""What a browser is shown of a sweep: the live report, and the tools that there are."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tune_app.journals import make_journal
from tune_app.dashboards import tools
from tune_app.dashboards.live_report import LOOPBACK, LivePage, serve
from tune_app.dashboards.tools import TOOLS, why_not
from tune_app.results.mirrors.optuna import write_optuna

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    folder.mkdir()
    with make_journal(folder / "journal.sqlite3") as journal:
        write_optuna(journal, folder / "optuna.sqlite3")
    return folder


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without plots and views, which take seconds."""
    monkeypatch.setattr("tune_app.dashboards.live_report.draw", lambda _: [])
    monkeypatch.setattr("tune_app.results.report.optuna_views", lambda _: [])


@pytest.fixture
def port(folder: Path, plain: None) -> Iterator[int]:
    server = serve(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


def answer(port: int, path: str, host: str = LOOPBACK) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    connection.request("GET", path, headers={"Host": f"{host}:{port}"})
    found = connection.getresponse()
    return found.status, found.read()


def test_the_report_is_served_and_nothing_else(port: int) -> None:
    status, page = answer(port, "/")
    assert status == 200 and b"<title>one" in page
    for path in ("/journal.sqlite3", "/../one/journal.sqlite3", "/%2e%2e/"):
        assert answer(port, path)[0] == 404
    assert answer(port, "/", host="rebound.example")[0] == 403


def test_the_page_is_made_again_only_when_the_journal_changed(
    folder: Path, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, made = 0.0, []
    page = LivePage(folder, clock=lambda: now)
    monkeypatch.setattr(page, "_make", lambda: made.append(now) or "page")
    page.page()
    now = 100.0
    page.page()
    assert made == [0.0]
    monkeypatch.setattr(page, "_state", lambda: ((1, 1),))
    page.page()
    monkeypatch.setattr(page, "_state", lambda: ((2, 2),))
    now = 105.0
    page.page()
    assert made == [0.0, 100.0], "not twice within ten seconds"


def test_what_is_missing_is_named_with_its_remedy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna, tensorboard = TOOLS
    assert why_not(optuna, folder) == ""
    assert "is not there yet; stellux report" in why_not(optuna, tmp_path)
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda _: None)
    told = why_not(tensorboard, folder)
    assert told == "not installed; python -m pip install tensorboard"


@pytest.mark.services
def test_it_starts_ends_with_ctrl_c_and_optuna_has_the_trials(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tune_app.dashboard", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            break
    address = next(line.split()[-1] for line in lines if line.startswith("Optuna"))
    with urllib.request.urlopen(f"{address}api/studies", timeout=60) as response:
        (study,) = json.load(response)["study_summaries"]
    with urllib.request.urlopen(
        f"{address}api/studies/{study['study_id']}?after=0", timeout=60
    ) as response:
        assert len(json.load(response)["trials"]) == 12
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and rest.strip() == "ended"
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=5)
