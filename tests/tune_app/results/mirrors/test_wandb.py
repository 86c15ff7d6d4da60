"""W&B offline needs no network; online needs a key; neither ever holds a sweep up."""

from __future__ import annotations

import io
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.tune_app.journals import make_journal
from tune_app.journal.records import CellEvaluation
from tune_app.results.mirrors.all_mirrors import mirrors
from tune_app.results.mirrors.wandb import WandbListener
from tune_app.results.mirrors.wandb_evaluations import send_evaluations
from tune_app.results.mirrors.wandb_runs import offline_runs
from tune_app.terminal.tables import summary

_AXES = {"embedding": ("tied", "untied")}


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_offline_writes_a_run_a_cell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    fates = {("untied",): "failed 2"}
    with caplog.at_level(logging.WARNING, logger="tune_app"):
        listener = WandbListener(tmp_path, "offline")
        make_journal(tmp_path / "j", axes=_AXES, fates=fates, listener=listener).close()
    runs = list((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    stored = [next(run.glob("run-*.wandb")).read_bytes() for run in runs]
    assert sum(b"dev/full_bits_per_byte" in data for data in stored) == 1
    assert all(b"dev/bits_per_byte" in data for data in stored)
    assert [record.message for record in caplog.records] == []
    assert capfd.readouterr().out == ""
    assert offline_runs(tmp_path) == sorted(runs)


def test_evaluations_go_to_the_run_of_their_cell(tmp_path: Path) -> None:
    with make_journal(tmp_path / "j", axes=_AXES) as journal:
        sweep, cell = journal.sweep(), journal.cells()[0]
    found = CellEvaluation(
        cell=cell.key, suite="sst2", split="validation", metrics={"accuracy": 0.5}, notes={}
    )
    send_evaluations([found], sweep=sweep, cell=cell, folder=tmp_path, mode="offline")
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    stored = next(run.glob("run-*.wandb"))
    patience = time.monotonic() + 30  # W&B's own process writes it
    while b"evaluation/sst2/validation/accuracy" not in stored.read_bytes():
        assert time.monotonic() < patience
        time.sleep(0.05)
    for mode, message in (("online", "needs a key"), ("sometimes", "must be one of")):
        with pytest.raises(ValueError, match=message):
            send_evaluations([found], sweep=sweep, cell=cell, folder=tmp_path, mode=mode)


def test_the_end_of_a_sweep_says_how_to_upload_offline_runs(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    for name in ("offline-run-1", "offline-run-2", "run-3"):
        (folder / "wandb" / name).mkdir(parents=True)
    console = Console(file=io.StringIO(), width=400)
    with make_journal(tmp_path / "j", axes=_AXES) as journal:
        console.print(summary(journal, folder))
        (folder / "wandb" / "offline-run-1" / "run-1.wandb.synced").touch()
        console.print(summary(journal, folder))
    first, second = [
        line
        for line in console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        if line.startswith("W&B")
    ]
    assert "2 offline runs; to upload them: wandb sync '" in first
    assert first.endswith("a b/wandb'/offline-run-*")
    assert "1 offline run; to upload it" in second


def test_online_without_a_key_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set WANDB_API_KEY.*or use --wandb offline"):
        mirrors(tmp_path, wandb="online")


def test_a_key_of_an_earlier_login_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40 + "\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    WandbListener(tmp_path, "online")


def test_another_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'on'; it must be one of off, offline, online"):
        mirrors(tmp_path, wandb="on")


def test_off_is_no_listener(tmp_path: Path) -> None:
    assert [type(m).__name__ for m in mirrors(tmp_path)] == [
        "OptunaListener",
        "TensorBoardListener",
    ]


def test_when_it_fails_the_sweep_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    def fail(**_: Any) -> None:
        raise wandb.errors.CommError("no way through")

    monkeypatch.setattr(wandb, "init", fail)
    with caplog.at_level(logging.WARNING, logger="tune_app"):
        listener = WandbListener(tmp_path, "offline")
        with make_journal(tmp_path / "j", axes=_AXES, listener=listener) as journal:
            assert len(journal.observations()) == 16
    (record,) = caplog.records
    assert "switched off; the sweep continues" in record.getMessage()
    assert "no way through" in record.getMessage()


def test_when_it_hangs_the_sweep_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    hang = threading.Event()
    monkeypatch.setattr(wandb, "init", lambda **_: hang.wait(30))
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="tune_app"):
        listener = WandbListener(tmp_path, "offline", patience=0.2)
        make_journal(tmp_path / "j", axes=_AXES, listener=listener).close()
    hang.set()
    assert time.monotonic() - started < 10
    assert "still sending" in caplog.text
