"""The account of checkpoints: SFTP, locked into its folder, by a worker's other key."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tune_app.cloud.overlay.loopback_overlay import Head, Worker
from tests.tune_app.stores.servers import SSHD
from tune_app.cloud.overlay.worker_script import store_url
from tune_app.stores.open import open_store


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of root's below folders of root's."""
    if SSHD is None:
        pytest.skip("no sshd; apt-get install openssh-server")
    if os.getuid() != 0:
        pytest.skip("only root locks a user into a folder")
    with tempfile.TemporaryDirectory(dir="/var/lib", prefix="overlay-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_checkpoints_go_by_a_key_that_opens_nothing_else(place: Path) -> None:
    root = place / "store"
    (root / "checkpoints").mkdir(parents=True)
    os.chown(root / "checkpoints", 65_534, 65_534)
    (place / "secret").write_text("of the head's", "utf-8")
    with (
        Head(place / "head", store_user="nobody", store_root=str(root)) as head,
        tempfile.TemporaryDirectory(prefix="worker-") as name,
        Worker(head, 3, Path(name)) as worker,
    ):
        worker.start()
        store = open_store(store_url(worker.settings, "/checkpoints"))
        try:
            store.write("cell/1.pt", b"state")
            assert store.read("cell/1.pt") == b"state"
        finally:
            store.close()
        assert (root / "checkpoints" / "cell" / "1.pt").read_bytes() == b"state"

        def as_store(
            *arguments: str, key: str = "store_key", program: str = "ssh", said: str = ""
        ) -> subprocess.CompletedProcess[str]:
            own = ["-o", f"User={head.settings.store_user}", "-o", f"IdentityFile={key}"]
            return subprocess.run(
                # Before the file: the first value that ssh finds is what counts.
                [program, *own, "-F", "config.store", *arguments],
                check=False,
                input=said,
                capture_output=True,
                text=True,
                timeout=10,
                cwd=name,
            )

        plain = (Path(name) / "config.head").read_text("utf-8")
        lines = [one for one in plain.splitlines() if not one.startswith(("User ", "IdentityFile"))]
        (Path(name) / "config.store").write_text("\n".join(lines) + "\n", "utf-8")
        done = as_store("head", "cat /etc/passwd")
        assert done.stdout == "This service allows sftp connections only.\n"
        done = as_store("head", program="sftp", said="ls -1 /..\nget /../secret\n")
        assert "checkpoints" in done.stdout
        assert "secret" not in done.stdout.replace("get /../secret", "")
        assert '"/../secret" not found' in done.stderr
        done = as_store("-W", f"127.0.0.1:{head.port}", "head")
        assert "administratively prohibited" in done.stderr
        done = as_store("-N", "-R", f"{head.settings.network}.3:20300:127.0.0.1:9", "head")
        assert "remote port forwarding failed" in done.stderr
        # Each key opens its own account alone.
        assert "Permission denied" in as_store("-N", "head", key="link_key").stderr
        head.setup.revoke(3)
        assert "Permission denied" in as_store("-N", "head").stderr
