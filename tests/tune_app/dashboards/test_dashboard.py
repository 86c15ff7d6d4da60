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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.tune_app.cloud.loopback_head import LoopbackHead
from tests.tune_app.journals import make_journal
from tune_app.cloud.head.shell import HeadCommandError, HeadUnreachableError
from tune_app.cloud.head_machine.dashboards import RAY, Shown, dashboards_in, head_dashboards
from tune_app.dashboards import tools
from tune_app.dashboards.live_report import LivePage
from tune_app.dashboards.server import LOOPBACK, Pages, serve
from tune_app.dashboards.shown import shown_folder
from tune_app.dashboards.tools import TOOLS, ray_dashboard, why_not
from tune_app.results.mirrors.optuna import write_optuna
from tune_app.study.definition import keep_definition
from tune_app.study.file import study_from

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


def test_a_study_has_its_page_and_those_of_its_phases(tmp_path: Path, plain: None) -> None:
    study = tmp_path / "mine"
    phases = [{"kind": "baseline", "seeds": 2, "rates": []}, {"kind": "rank"}]
    axes = {"glu_expansion": [2.66, 3.0]}
    defined = study_from({"tokens": 1_000, "axes": axes, "phase": phases}, name="mine")
    make_journal(study / "0-baseline" / "journal.sqlite3", axes=axes).close()
    keep_definition(defined, study)
    assert shown_folder("mine", tmp_path) == shown_folder(str(study), Path("nowhere")) == study
    with pytest.raises(ValueError, match="there is no sweep 'none'"):
        shown_folder("none", tmp_path)
    pages = Pages(study)
    main, phase = pages.at("/"), pages.at("/0-baseline/report.html")
    assert main is not None and b"<title>mine \xe2\x80\x93 study report" in main.page()
    assert phase is not None and b"sweep report</title>" in phase.page()
    assert pages.at("/0-baseline/report.html") is phase
    for other in ("/1-rank/report.html", "/../report.html", "/0-baseline/journal.sqlite3"):
        assert pages.at(other) is None
    optuna, tensorboard = TOOLS
    assert why_not(optuna, study).endswith(f"stellux dashboard {study / '0-baseline'}")
    assert tensorboard.needs(study) == study


class RaysDashboard(BaseHTTPRequestHandler):
    """What Ray's answers to a question for its version."""

    def do_GET(self) -> None:
        content = b'{"version": "4", "ray_version": "2.60.0"}'
        self.send_response(200 if self.path == "/api/version" else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def ray() -> Iterator[int]:
    """The port of what answers like Ray's dashboard."""
    server = ThreadingHTTPServer((LOOPBACK, 0), RaysDashboard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


def test_rays_dashboard_is_told_from_what_else_answers(ray: int, port: int) -> None:
    assert ray_dashboard(ray) == f"http://{LOOPBACK}:{ray}/"
    assert ray_dashboard(port) == "", "that is the report"


def test_what_a_head_says_of_its_dashboards() -> None:
    said = [
        "the report          http://127.0.0.1:4711/",
        "Optuna's dashboard  http://127.0.0.1:4712/",
        "TensorBoard         not installed; python -m pip install tensorboard",
    ]
    assert dashboards_in(said) == [
        Shown(title="the report", address="4711"),
        Shown(title="Optuna's dashboard", address="4712"),
        Shown(title="TensorBoard", why_not="not installed; python -m pip install tensorboard"),
    ]


@pytest.mark.services
def test_a_heads_dashboards_come_through_tunnels(
    ray: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LoopbackHead(tmp_path / "head", "192.0.2.1") as head:
        monkeypatch.setenv("PATH", head.path)
        program = [f"PYTHONPATH={ROOT}", sys.executable, "-m", "tune_app.dashboard", str(folder)]
        with head_dashboards(head.shell, ["env", *program], ray=ray) as shown:
            assert [one.title for one in shown[:2]] == [RAY, "the report"]
            with urllib.request.urlopen(f"{shown[0].address}api/version", timeout=60) as answered:
                assert json.load(answered)["ray_version"] == "2.60.0"
            with pytest.raises(HTTPError, match="404"):
                urllib.request.urlopen(f"{shown[1].address}none", timeout=60)
            addresses = [one.address for one in shown if one.address]
            assert all(one.startswith("http://127.0.0.1:") for one in addresses)
        for address in addresses:
            with pytest.raises(OSError):
                urllib.request.urlopen(address, timeout=5)
        with (
            pytest.raises(HeadCommandError, match=r"did not start on 192\.0\.2\.1: no such thing"),
            head_dashboards(head.shell, ["echo", "no", "such", "thing"], ray=ray),
        ):
            pass
    with (
        pytest.raises(HeadUnreachableError, match="no SSH server answers there"),
        head_dashboards(head.shell, [], ray=ray),
    ):
        pass


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
