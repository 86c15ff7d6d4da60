"""Seconds to write a checkpoint to each kind of store and read it back, on this machine's loopback.

A folder, a real sshd and moto's S3 in memory, each a process of its own; rounds are interleaved.
No network is measured. CPU seconds are those of this process alone.

python -m benchmarks.checkpoint_stores
"""

from __future__ import annotations

import os
import platform
import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from cyclopts import App

from tests.tune_app.stores.servers import SSHD, MotoServer, Sshd
from tune_app.stores.base import Store
from tune_app.stores.open import open_store

app = App(name="python -m benchmarks.checkpoint_stores", help=__doc__, version_flags=[])


@app.default
def compare(*, megabytes: int = 120, rounds: int = 3) -> None:
    """Measure every store and print a table.

    Parameters
    ----------
    megabytes
        Size of the random content, in units of 10^6 bytes.
    rounds
        Writes and reads of each store.
    """
    content = secrets.token_bytes(megabytes * 10**6)
    os.environ.update(MotoServer.ENVIRONMENT)
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {"path": str(folder / "path")}
        if SSHD is not None:
            sshd = Sshd(folder / "sshd")
            stack.enter_context(sshd)
            urls["sftp"] = sshd.url()
        moto = MotoServer(folder / "moto")
        stack.enter_context(moto)
        urls["s3"] = moto.url()
        stores = {name: open_store(url) for name, url in urls.items()}
        for store in stores.values():
            stack.callback(store.close)
            store.check()
        for _ in range(rounds):
            for name, store in stores.items():
                seconds.setdefault((name, "up"), []).append(_timed(_upload(store, content)))
                seconds.setdefault((name, "down"), []).append(_timed(_download(store, content)))
    print(
        f"{megabytes} MB, {rounds} rounds, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}\n"
        f"{'':12}{'s median':>10}{'range':>14}{'CPU s median':>14}"
    )
    for (name, direction), rows in seconds.items():
        walls, cpus = zip(*rows, strict=True)
        print(
            f"{name + ' ' + direction:12}{median(walls):10.2f}"
            f"{f'{min(walls):.2f}-{max(walls):.2f}':>14}{median(cpus):14.2f}"
        )


def _upload(store: Store, content: bytes) -> Callable[[], None]:
    return lambda: store.write("cell/1.pt", content)


def _download(store: Store, content: bytes) -> Callable[[], None]:
    def read() -> None:
        assert len(store.read("cell/1.pt")) == len(content)

    return read


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall time and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    app()
