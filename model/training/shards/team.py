"""The processes that train one model together: started, told what to do, and missed.

The first process is the one that calls; it starts the others and tells each what to do through a
pipe. All of them are in one process group of torch.distributed, on this host's loopback interface.
The others end when the first one does, however it ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

logger = logging.getLogger(__name__)

PATIENCE = 300.0
"""Seconds that a process waits for the others in one exchange, before it gives up."""
_REPORT_SECONDS = 5.0
"""How long to wait for the report of a process that failed, once it is missed."""
_END_SECONDS = 10.0
_POLL_SECONDS = 0.05


class ProcessFailedError(ChildProcessError):
    """One of several processes that train a model together failed; the others have ended."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The report of a process that failed."""

    time: float
    cause: str
    """In one line."""
    traceback: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """A process's place among the others."""

    rank: int
    """From 0, the process that started the others."""
    processes: int
    device: str
    meeting: str
    """A file through which they find each other."""
    patience: float


Worker = Callable[[DeviceMesh, Place], Callable[[str, tuple[Any, ...]], None]]
"""Prepares what a process does, once all are there: a function of a command and its values."""


def devices_of(device: str, processes: int) -> list[str]:
    """The device of each process: GPUs in a row from `device` on, or the one CPU.

    Raises ValueError if there are not so many, or if processes cannot share a model there.
    """
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return [device] * processes
    if kind != "cuda":
        raise ValueError(
            f"{processes} processes cannot train one model on {device!r}; take cpu or cuda, or one "
            "process"
        )
    first, found = int(number or 0), torch.cuda.device_count()
    if first + processes > found:
        raise ValueError(
            f"{processes} processes need as many GPUs from {kind}:{first} on, and this machine has "
            f"{found}; take at most {max(1, found - first)}"
        )
    return [f"cuda:{first + rank}" for rank in range(processes)]


class Team:
    """The processes of one training, seen from the first one.

    Args:
        devices: of each process.
        worker: what the others do; found again by its name, so a function of a module, or a
            functools.partial of one.
        patience: seconds to wait for the others in one exchange.

    Raises ProcessFailedError if one of them does not start, ValueError if this process already is
    in a process group.
    """

    def __init__(self, devices: list[str], worker: Worker, *, patience: float = PATIENCE) -> None:
        if dist.is_initialized():
            raise ValueError(
                "this process trains a model with others already; close that training first"
            )
        self._closed = False
        self._folder = Path(tempfile.mkdtemp(prefix="stellux-team-"))
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        # A copy of this process would have its threads' locks without the threads.
        context = multiprocessing.get_context("spawn")
        places = [
            Place(
                rank=rank,
                processes=len(devices),
                device=device,
                meeting=f"file://{self._folder / 'meeting'}",
                patience=patience,
            )
            for rank, device in enumerate(devices)
        ]
        with self.watched():
            for place in places[1:]:
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_serve,
                    args=(theirs, place, worker, torch.get_num_threads()),
                    name=f"stellux-training-{place.rank}",
                    daemon=True,
                )
                process.start()
                theirs.close()
                self._processes.append(process)
                self._connections.append(ours)
            self.mesh = _join(places[0])

    def tell(self, command: str, *values: tuple[Any, ...]) -> None:
        """Tells each of the others to do something, with the values for each in its order.

        This process then has to do the same, within `watched`.
        """
        for number, connection in enumerate(self._connections):
            connection.send((command, values[number] if values else ()))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Whatever fails in here ends all processes; if another one failed, its error is raised.

        Raises ProcessFailedError.
        """
        if self._closed:
            raise ProcessFailedError("the processes of this training have ended; start it anew")
        try:
            yield
        except BaseException as error:
            # What an exchange raises; anything else is this process's own mistake.
            reason = self._missed() if isinstance(error, (RuntimeError, OSError)) else ""
            self.close(wait=False)
            if reason:
                raise ProcessFailedError(reason) from error
            raise

    def close(self, *, wait: bool = True) -> None:
        """Ends the other processes.

        wait: whether they end by themselves first, as they do between two commands.
        """
        if self._closed:
            return
        self._closed = True
        for connection in self._connections:
            connection.close()  # which ends a process that waits for a command
        deadline = time.monotonic() + (_END_SECONDS if wait else 0.0)
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        if dist.is_initialized():
            dist.destroy_process_group()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _missed(self) -> str:
        """Which of the others failed and why, the first cause first; empty if all are well."""
        deadline = time.monotonic() + _REPORT_SECONDS
        reports: dict[int, Failed] = {}
        while True:
            for number, connection in enumerate(self._connections):
                if number not in reports and (report := _report_of(connection)) is not None:
                    reports[number] = report
            ended = [number for number, one in enumerate(self._processes) if not one.is_alive()]
            if reports or ended or time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        for number, connection in enumerate(self._connections):
            # What was sent just before the end.
            if number not in reports and (report := _report_of(connection)) is not None:
                reports[number] = report
        return _reason(
            {n: self._processes[n].exitcode for n in ended if n not in reports},
            reports,
            processes=len(self._processes) + 1,
        )


def _reason(
    ended: Mapping[int, int | None], reports: Mapping[int, Failed], *, processes: int
) -> str:
    """Who failed, in words: whoever could not say why comes first, as the cause of the rest."""
    if ended:
        number, code = next(iter(ended.items()))
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended ({code})"
        return f"process {number + 1} of {processes} (from 0) {how}, so the others were ended too"
    if reports:
        number, report = min(reports.items(), key=lambda item: item[1].time)
        logger.error("process %d of %d failed:\n%s", number + 1, processes, report.traceback)
        return f"process {number + 1} of {processes} (from 0) failed: {report.cause}"
    return ""


def _report_of(connection: Connection) -> Failed | None:
    try:
        if connection.poll():
            report = connection.recv()
            assert isinstance(report, Failed)
            return report
    except (EOFError, OSError):
        pass  # it ended without a word
    return None


def _serve(connection: Connection, place: Place, worker: Worker, threads: int) -> None:
    """What another process does: commands, until the pipe closes."""
    # A terminal sends Ctrl-C to all processes, and the first one has to save with the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)  # the first process has the same to say
    try:
        obey = worker(_join(place), place)
        while True:
            try:
                command, values = connection.recv()
            except EOFError:
                break
            obey(command, values)
    except BaseException as error:
        cause = (str(error).splitlines() or [""])[0]
        report = Failed(
            time=time.time(),
            cause=f"{type(error).__name__}: {cause}",
            traceback=traceback.format_exc(),
        )
        with suppress(OSError):  # the first process is gone
            connection.send(report)
        # At once, so that nobody waits for this process's part of an exchange.
        os._exit(1)
    # What torch.distributed would do at its end may wait for processes that have ended.
    os._exit(0)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _join(place: Place) -> DeviceMesh:
    """Waits for all processes and makes their group."""
    kind = torch.device(place.device).type
    if kind == "cuda":
        torch.cuda.set_device(place.device)
    with _on_loopback():
        dist.init_process_group(
            {"cpu": "gloo", "cuda": "cuda:nccl,cpu:gloo"}[kind],
            init_method=place.meeting,
            rank=place.rank,
            world_size=place.processes,
            timeout=timedelta(seconds=place.patience),
        )
        return init_device_mesh(kind, (place.processes,))


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Group processes made in here listen on the loopback interface alone."""
    name = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    added = [one for one in names if name is not None and one not in os.environ]
    os.environ.update({one: str(name) for one in added})
    try:
        yield
    finally:
        for one in added:
            del os.environ[one]
