"""Checkpoints of several workers in one store: read by all, changed by none but the head."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.tune_app.cloud.overlay.hostile_sftp import SPOILT, changes, script
from tests.tune_app.cloud.overlay.loopback_overlay import Head, Worker
from tests.tune_app.stores.servers import SSHD
from tune_app.cloud.overlay.worker_script import store_url
from tune_app.cloud.whole_files import write_file
from tune_app.stores.base import Store, StoreRefusedError
from tune_app.stores.open import open_store
from tune_app.trial.checkpoints import Checkpoints, Superseding

FOLDER = "/checkpoints"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A head with a store, in which each of the folders has a key."""

    head: Head
    files: Path
    """The store's folder on the head's disk."""
    workers: tuple[Path, Path]
    """Folders of keys."""
    heads: Path

    def open(self, keys: Path) -> Store:
        return open_store(store_url(replace(self.head.settings, worker_folder=str(keys)), FOLDER))

    def contents(self) -> dict[str, tuple[bytes, int]]:
        """Bytes and mode of every file, by its name."""
        return {
            str(path.relative_to(self.files)): (path.read_bytes(), path.stat().st_mode)
            for path in self.files.rglob("*")
            if path.is_file() and path.suffix != ".tmp"
        }

    def leftovers(self) -> list[Path]:
        return list(self.files.rglob("*.tmp"))

    def sftp(self, keys: Path, *lines: str) -> list[str]:
        """What OpenSSH's own client says to lines that may fail: a line for each that did."""
        settings = self.head.settings
        done = subprocess.run(
            # The key is named after its user's file: no agent, no other key.
            [
                *("sftp", "-q", "-b", "-", "-P", str(settings.port), "-i", keys / "store_key"),
                *("-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={keys / 'known_hosts'}"),
                f"{settings.store_user}@{settings.head}",
            ],
            input=script(lines),
            capture_output=True,
            text=True,
            timeout=30,
            cwd=keys,
            check=True,
        )
        return done.stderr.splitlines()


@pytest.fixture
def shared() -> Iterator[Shared]:
    if SSHD is None:
        pytest.skip("no sshd; apt-get install openssh-server")
    if os.getuid() != 0:
        pytest.skip("only root locks a user into a folder")
    with (
        tempfile.TemporaryDirectory(dir="/var/lib", prefix="overlay-") as name,
        tempfile.TemporaryDirectory(prefix="workers-") as own,
    ):
        place = Path(name)
        place.chmod(0o755)
        files = place / "store" / FOLDER.strip("/")
        files.mkdir(parents=True)
        os.chown(files, 65_534, 65_534)
        with Head(place / "head", store_user="nobody", store_root=str(place / "store")) as head:
            first, second = Path(own) / "3", Path(own) / "4"
            for k, folder in ((3, first), (4, second)):
                with Worker(head, k, folder) as worker:
                    worker.start(wait=False)
            heads = Path(own) / "head"
            heads.mkdir()
            (heads / "store_key").symlink_to(head.setup.files.store_key)
            write_file(heads / "known_hosts", head.setup.known_hosts, mode=0o644)
            head.setup.let_head_in()
            yield Shared(head=head, files=files, workers=(first, second), heads=heads)


def test_a_cell_moves_on_and_the_head_removes_what_is_superseded(shared: Shared) -> None:
    mine, yours = shared.workers
    with (
        closing(shared.open(mine)) as first,
        closing(shared.open(yours)) as second,
        closing(shared.open(shared.heads)) as head,
    ):
        before = Checkpoints(first, cell="cell")
        for tokens in (100, 200, 300):
            before.save({"step": tokens}, tokens=tokens, bits_per_byte=400.0 / tokens)
        saved = shared.contents()
        assert len(saved) == 6

        after = Checkpoints(second, cell="cell")
        restored = after.newest()
        assert (restored.tokens, restored.state, restored.damaged) == (300, {"step": 300}, ())
        # Lost and started again, it may save the very same bytes twice.
        names = {after.save({"step": 400}, tokens=400, bits_per_byte=9.0) for _ in range(2)}
        (name,) = names
        assert saved.items() <= shared.contents().items()
        assert before.newest().state == {"step": 400}

        assert after.unpruned == Superseding(newest=name, keep=2)
        left = Checkpoints(head, cell="cell")
        left.prune(after.unpruned)
        assert left.unpruned is None
        kept = {path.split("/")[1].split("-")[0] for path in shared.contents()}
        assert kept == {"300", "400"}  # 300 is the best, too
        # Of the bytes that were there already; they look as if still being written, for an hour.
        assert {path.name.split("-")[0] for path in shared.leftovers()} == {"400"}
        assert len(shared.leftovers()) == 2


def test_no_worker_changes_what_is_stored(shared: Shared) -> None:
    mine, yours = shared.workers
    with closing(shared.open(mine)) as store:
        name = Checkpoints(store, cell="cell").save({"step": 1}, tokens=100)
        (shared.files / "tokens").mkdir()
        os.chown(shared.files / "tokens", 65_534, 65_534)
    with closing(shared.open(shared.heads)) as head:
        head.write("tokens/part", b"of the head's")
    before = shared.contents()
    manifest = name.replace(".pt", ".json")
    at = [f"{FOLDER}/{one}" for one in (name, manifest, "tokens/part")]
    at += [f"{FOLDER}/{path.relative_to(shared.files)}" for path in shared.leftovers()]
    attempts = [
        *changes(at),
        f"rename {FOLDER}/cell {FOLDER}/other",
        f"chmod 700 {FOLDER}/cell",
        f"ln -s /etc/passwd {FOLDER}/link",
        f"ln {at[1]} {at[0]}",
        f"rmdir {FOLDER}/tokens",
    ]
    for keys in shared.workers:  # its own are no exception: its key may be stolen
        (keys / SPOILT).write_bytes(b"spoilt")
        said = shared.sftp(keys, *attempts)
        assert len(said) >= len(attempts), said
        assert shared.contents() == before
    assert not list(shared.files.rglob("link"))
    with closing(shared.open(yours)) as store:
        for refused in (lambda: store.remove(name), lambda: store.write(name, b"spoilt")):
            with pytest.raises(StoreRefusedError):
                refused()
        assert Checkpoints(store, cell="cell").newest().state == {"step": 1}
    assert shared.contents() == before
