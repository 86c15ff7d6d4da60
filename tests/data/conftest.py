"""A stand-in for the Hugging Face hub: a server on loopback with a few small datasets."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

COMMIT = "c0ffee" + "0" * 34


class Hub(ThreadingHTTPServer):
    """Serves `files[repository][path]`, as much of the hub as a download needs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.files: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self.gated: dict[str, str] = {}
        """The token that may read a repository; any may read the others."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class HubRequest(BaseHTTPRequestHandler):
    """One request to the stand-in."""

    server: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[0] == "datasets" and len(parts) > 5 and parts[3] == "resolve":
            self._file("/".join(parts[1:3]), "/".join(parts[5:]))
        elif len(parts) > 4 and parts[2] == "resolve":  # of a model
            self._file("/".join(parts[:2]), "/".join(parts[4:]))
        elif parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            self._api("/".join(parts[2:4]), parts[4:])
        else:
            self._missing("EntryNotFound")

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the requests are kept for the tests."""

    def _refused(self, repository: str) -> bool:
        token = self.server.gated.get(repository)
        if token is None or self.headers.get("Authorization") == f"Bearer {token}":
            return False
        told = {"X-Error-Code": "GatedRepo", "X-Error-Message": "access is restricted"}
        self._answer(403 if "Authorization" in self.headers else 401, b"", told)
        return True

    def _file(self, repository: str, name: str) -> None:
        files = self.server.files.get(repository)
        if files is None:
            return self._missing("RepoNotFound")
        if self._refused(repository):
            return None
        if name not in files:
            return self._missing("EntryNotFound")
        content = files[name]
        start, end = 0, len(content)
        asked = self.headers.get("Range")
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(end, int(last) + 1 if last else end)
        headers = {
            "ETag": f'"{hash_of(content)}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        return self._answer(206 if asked else 200, content[start:end], headers)

    def _api(self, repository: str, action: list[str]) -> None:
        files = self.server.files.get(repository)
        if files is None:
            return self._missing("RepoNotFound")
        if action and action[0] != "revision" and self._refused(repository):
            return None
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": hash_of(content)}
            for name, content in sorted(files.items())
        ]
        match action:
            case [] | ["revision", _]:
                siblings = [{"rfilename": entry["path"]} for entry in entries]
                body: object = {
                    "id": repository,
                    "sha": COMMIT,
                    "private": False,
                    "gated": False,
                    "siblings": siblings,
                }
            case ["paths-info", _]:
                length = int(self.headers.get("Content-Length", 0))
                raw = self.rfile.read(length).decode()
                asked = json.loads(raw)["paths"] if raw[:1] == "{" else parse_qs(raw)["paths"]
                body = [entry for entry in entries if entry["path"] in asked]
            case ["tree", _, *folder]:
                body = children(entries, "".join(f"{part}/" for part in folder))
            case _:
                return self._missing("EntryNotFound")
        return self._answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _missing(self, code: str) -> None:
        self._answer(404, b"", {"X-Error-Code": code, "X-Error-Message": "not here"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def children(entries: list[dict[str, object]], prefix: str) -> list[dict[str, object]]:
    """What lies directly in a folder, as the hub lists it."""
    found: dict[str, dict[str, object]] = {}
    for entry in entries:
        path = str(entry["path"])
        if path.startswith(prefix):
            head, deeper, _ = path.removeprefix(prefix).partition("/")
            folder = {"type": "directory", "path": prefix + head, "size": 0, "oid": "0" * 40}
            found[head] = folder if deeper else entry
    return list(found.values())


def hash_of(content: bytes) -> str:
    """Forty digits, as git names a blob."""
    from hashlib import sha1

    return sha1(content).hexdigest()


@pytest.fixture
def parquet() -> Callable[..., bytes]:
    """Makes a Parquet file with one column."""

    def make(texts: list[str | None], column: str = "text") -> bytes:
        buffer = io.BytesIO()
        pq.write_table(pa.table({column: pa.array(texts, pa.string())}), buffer)
        return buffer.getvalue()

    return make


@pytest.fixture
def hub() -> Iterator[Hub]:
    """An empty hub that answers on loopback."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run_prepare(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m data.prepare ARGUMENTS` with a cache and a hub cache of the test's own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "data.prepare", *arguments],
            env={
                **os.environ,
                "STELLUX_CACHE": str(tmp_path / "cache"),
                "HF_HOME": str(tmp_path / "hub"),
                "PYTHONPATH": str(Path(__file__).parents[2]),
                **environment,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dogs",
    "while",
    "seven",
    "wizards",
)


def story_of(number: int, words: int = 60) -> str:
    """A text of a few dozen words that its number decides."""
    state = number * 2_654_435_761 % 2**32
    chosen = []
    for _ in range(words):
        state = (state * 1_664_525 + 1_013_904_223) % 2**32
        chosen.append(WORDS[(state >> 16) % len(WORDS)])
    return f"Story {number}: " + " ".join(chosen) + "."


@pytest.fixture
def story() -> Callable[..., str]:
    """Makes a short text."""
    return story_of


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    """A JSON-lines corpus of 120 short documents."""
    path = tmp_path / "stories.jsonl"
    lines = [json.dumps({"text": story_of(number)}) for number in range(120)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
