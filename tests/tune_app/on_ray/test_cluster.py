"""What Ray is started with; no Ray is started here."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from tune_app.command_line import ended_by_signals
from tune_app.journal.endings import Ending, EndKind
from tune_app.on_ray import cluster, quiet, tuner
from tune_app.on_ray.halt import Halt

PYTHON = Path("/home/me/stellux/.venv/bin/python")


@pytest.mark.parametrize(
    ("python", "temporary", "message"),
    [
        ("/home/my things/.venv/bin/python", "/tmp", "move the checkout to a path without spaces"),
        ("/home/a(b/.venv/bin/python", "/tmp", r"as one word because of '\('; move the checkout"),
        ("/home/$a's/python", "/tmp", "because of '\\$' \"'\"; move the checkout"),
        (PYTHON, "/tmp/my things", "which contains a space; set RAY_TMPDIR"),
        (PYTHON, "/tmp/" + 40 * "x", "45 bytes, at most 39 are allowed; set RAY_TMPDIR"),
    ],
)
def test_places_that_ray_cannot_work_in_are_refused(
    python: str, temporary: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cluster.refuse_places(Path(python), Path(temporary), local=True)


def test_places_that_ray_can_work_in_are_not_refused() -> None:
    cluster.refuse_places(PYTHON, Path("/tmp/" + 34 * "x"), local=True)
    cluster.refuse_places(PYTHON, Path("/tmp/" + 90 * "x"), local=False)
    cluster.check_places(local=True)


def test_processes_of_ray_do_not_get_the_signals_of_the_sweeps_group() -> None:
    usual = ray._private.services.ConsolePopen
    with cluster.signals_kept_from_ray():
        process = ray._private.services.ConsolePopen(["sleep", "60"])
    try:
        assert os.getpgid(process.pid) == process.pid != os.getpgrp()
        assert ray._private.services.ConsolePopen is usual
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "terminated"),
        (signal.SIGHUP, "terminated"),
    ],
)
def test_a_signal_to_end_halts_the_sweep_and_two_at_once_are_one(
    number: signal.Signals, reason: str
) -> None:
    before = signal.getsignal(number)
    halt, told = Halt(), SimpleQueue[str]()
    with tuner.interrupts(halt, told.put):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert halt.ending == Ending(kind=EndKind.INTERRUPTION, reason=reason)
        # At once, and once: whoever waits for the cells to be saved has to know why.
        assert told.get(timeout=10) == reason
    assert told.empty()
    assert signal.getsignal(number) is before


def test_a_second_wish_to_end_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with tuner.interrupts(Halt(), print):
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(tuner, "_SAME_SIGNAL", -1.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        halt = Halt()
        with tuner.interrupts(halt, print):
            os.kill(os.getpid(), signal.SIGHUP)
            assert halt.ending is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_beside_the_main_one_leaves_signals_alone() -> None:
    """As in a server or a widget's callback: Python lets only the main thread handle signals."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with tuner.interrupts(Halt(), print), ended_by_signals():
                assert signal.getsignal(signal.SIGINT) is before
        except BaseException as error:
            failures.append(error)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(ValueError, match=r"no home folder, .*; set HOME to a folder"):
        cluster.check_places(local=False)


def test_a_process_that_uses_ray_already_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    with pytest.raises(ValueError, match=r"connected to Ray already.*call ray.shutdown\(\) first"):
        cluster.check_places(local=True)


def test_what_ray_is_told_for_a_sweep_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "7")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    before = dict(os.environ)
    worker, level = ray._private.worker, logging.getLogger("ray.tune").level
    prints = worker.print_to_stdstream
    with quiet.settings(local=True), quiet.silence():
        assert os.environ["TUNE_GLOBAL_CHECKPOINT_S"] == "7", "the user's own"
        assert "PYTHONWARNINGS" not in os.environ, "Ray's processes would end by their warnings"
        assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
        assert worker.print_to_stdstream is not prints
        assert logging.getLogger("ray.tune").level == logging.CRITICAL
    assert dict(os.environ) == before
    assert worker.print_to_stdstream is prints
    assert logging.getLogger("ray.tune").level == level


def test_an_interpreter_without_docstrings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "flags", SimpleNamespace(optimize=2))
    with pytest.raises(ValueError, match=r"python -OO.* unset PYTHONOPTIMIZE"):
        cluster.check_places(local=True)


def test_a_sweep_on_this_machine_joins_no_cluster_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.setattr("ray.init", lambda **options: asked.append(options))
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(cluster, "usable_cpus", lambda: 3)
    with cluster.connected(None, cpus=2, gpus=0.0, show=True):
        pass
    assert (asked[0]["address"], asked[0]["num_cpus"]) == ("local", 3)


def test_a_home_that_ray_may_not_write_to_is_told_with_the_remedy() -> None:
    message = "'/.ray'; it writes to ~/.ray .*: set HOME and RAY_TMPDIR"
    with pytest.raises(ValueError, match=message), cluster.writing_explained():
        raise PermissionError(errno.EACCES, "Permission denied", "/.ray")
    with pytest.raises(ConnectionError), cluster.writing_explained():
        raise ConnectionError("no cluster at that address")


def test_without_a_home_ray_gets_its_token_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # whatever it was is restored
    for home, given in ((tmp_path, False), (tmp_path / "nowhere", True)):
        os.environ.pop("RAY_AUTH_TOKEN", None)
        monkeypatch.setenv("HOME", str(home))
        cluster.keep_token_without_home()
        assert ("RAY_AUTH_TOKEN" in os.environ) is given
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the user's")
    cluster.keep_token_without_home()
    assert os.environ["RAY_AUTH_TOKEN"] == "the user's"


def test_ray_sees_only_the_gpu_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with cluster.only_gpu(None, "cuda:1"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
    for address, device in ((None, "cuda"), (None, "cpu"), ("auto", "cuda")):
        with cluster.only_gpu(address, device):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with cluster.only_gpu(None, "cuda:0"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        cluster.require_answer(address)
    for unanswered in (address, "127.0.0.1:99999999"):
        with pytest.raises(ValueError, match=r"no Ray cluster answers at .*leave --address out"):
            cluster.require_answer(unanswered)
    for left_to_ray in ("auto", "local", "ray://127.0.0.1:1"):
        cluster.require_answer(left_to_ray)
