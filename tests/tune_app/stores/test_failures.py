"""How stores fail: every kind of error is really caused, and the next call works again."""

from __future__ import annotations

import gc
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest

from tests.tune_app.stores.servers import SSHD, MotoServer, Server, Sshd, free_port
from tune_app.stores.base import (
    Store,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnreachableError,
)
from tune_app.stores.open import open_store

pytestmark = pytest.mark.services

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root mounts a small disk")
ROOT = Path(__file__).parents[3]
CONTENT = random.Random(0).randbytes(60_000_000)


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """An SFTP server that a test may stop and stall."""
    if SSHD is None:
        pytest.skip("no sshd; apt-get install openssh-server")
    with Sshd(tmp_path / "sshd") as server:
        yield server


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = open_store(url, connect_timeout=2, stall_timeout=1)
    yield store
    store.close()


@contextmanager
def small_disk(folder: Path, options: str = "size=8m") -> Iterator[Path]:
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def refused(url: str) -> str:
    """The message with which a store refuses: one line."""
    with opened(url) as store, pytest.raises(StoreRefusedError) as error:
        store.check()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_wrong_key_is_refused(sshd: Sshd) -> None:
    message = refused(sshd.url(key=sshd.make_key("stranger")))
    assert "stranger" in message
    assert "authorized_keys" in message


def test_a_missing_broken_or_public_key_file_is_refused(sshd: Sshd) -> None:
    broken = sshd.folder / "broken"
    broken.touch(0o600)
    broken.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nno\n", "utf-8")
    seen_by_all = sshd.make_key("seen_by_all")
    seen_by_all.chmod(0o644)
    assert "No such file" in refused(sshd.url(key=sshd.folder / "missing"))
    assert "ssh-keygen" in refused(sshd.url(key=broken))
    assert "chmod 600" in refused(sshd.url(key=seen_by_all))


def test_an_agent_signs_and_one_that_is_away_or_empty_may_come_back(sshd: Sshd) -> None:
    with tempfile.TemporaryDirectory(prefix="agent-", dir="/tmp") as folder:
        # A link: the same URL names a key's file elsewhere.
        link, listens = Path(folder) / "key", Path(folder) / "s"
        link.symlink_to(listens)

        def unreachable() -> str:
            with opened(sshd.url(key=link)) as store:
                with pytest.raises(StoreUnreachableError) as error:
                    store.check()
                return str(error.value)

        assert "where no agent listens" in unreachable()
        server = subprocess.Popen(["ssh-agent", "-D", "-a", str(listens)], stdout=-3)
        try:
            end = time.monotonic() + 10
            while not listens.is_socket():
                assert time.monotonic() < end
                time.sleep(0.02)
            assert "holds no key; add one with ssh-add" in unreachable()
            told = os.environ | {"SSH_AUTH_SOCK": str(listens)}
            subprocess.run(["ssh-add", "-q", sshd.key], check=True, env=told)
            with opened(sshd.url(key=link)) as store:
                store.check()
        finally:
            server.kill()
            server.wait(10)
        assert "does not answer" in unreachable()


def test_an_unknown_host_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    sshd.known_hosts.rename(tmp_path / "known_hosts")
    try:
        assert "ssh-keyscan" in refused(sshd.url()), "no file"
        sshd.known_hosts.write_text("", "utf-8")
        assert f"ssh-keyscan -p {sshd.port}" in refused(sshd.url()), "no entry"
    finally:
        shutil.move(tmp_path / "known_hosts", sshd.known_hosts)


def test_another_host_key_than_the_known_one_is_refused(sshd: Sshd) -> None:
    sshd.trust(sshd.make_key("another_host"))
    try:
        assert "not the one in" in refused(sshd.url())
    finally:
        sshd.trust(sshd.host_key)
    with opened(sshd.url()) as store:
        store.check()


@as_root
def test_a_read_only_disk_refuses(sshd: Sshd, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=8m,ro") as disk:
        assert "read-only" in refused(sshd.url(disk))
        assert "Read-only" in refused(str(disk))


@as_root
def test_a_folder_of_another_user_refuses() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        program = (
            "import os, sys\n"
            "from tune_app.stores.base import StoreRefusedError\n"
            "from tune_app.stores.open import open_store\n"
            "store = open_store(sys.argv[1])\n"
            "os.setuid(65534)\n"
            "try: store.check()\n"
            "except StoreRefusedError as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, f"{name}/store"],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
    assert "Permission denied" in done.stdout


@as_root
def test_a_folder_of_another_user_behind_sshd_refuses() -> None:
    if SSHD is None:
        pytest.skip("no sshd; apt-get install openssh-server")
    # sshd lets root's folders alone be a chroot, and reads the keys as who comes in.
    with tempfile.TemporaryDirectory(dir="/var/lib") as name:
        Path(name).chmod(0o755)
        server = Sshd(Path(name) / "sshd", user="nobody", chroot=Path(name))
        server.folder.chmod(0o755)
        server.authorized_keys.chmod(0o644)
        with server:
            message = refused(server.url("/store"))
    assert "permission denied" in message
    assert "nobody" in message


@pytest.mark.parametrize("kind", ["path", "sftp"])
@as_root
def test_a_full_disk_keeps_what_it_holds(kind: str, sshd: Sshd, tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk") as disk,
        opened(sshd.url(disk) if kind == "sftp" else str(disk)) as store,
    ):
        store.write("cell/1.pt", b"before")
        with pytest.raises(StoreFullError, match="make room"):
            store.write("cell/2.pt", CONTENT[:20_000_000])
        with pytest.raises(StoreFullError):
            store.write("cell/1.pt", CONTENT[:20_000_000])
        assert store.read("cell/1.pt") == b"before"
        assert [path.name for path in (disk / "cell").iterdir()] == ["1.pt"]
        store.write("cell/2.pt", CONTENT[:1_000_000])
        assert store.names("cell") == ["cell/1.pt", "cell/2.pt"]


@pytest.mark.parametrize("kind", ["path", "sftp"])
def test_leftovers_go_when_they_are_old(kind: str, sshd: Sshd, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with opened(sshd.url(folder) if kind == "sftp" else str(folder)) as store:
        store.remove_leftovers("cell")
        store.write("cell/1.pt", b"1")
        for name, age in (("old", 3_700), ("young", 3_500)):
            (folder / f"cell/2.pt.{name}.tmp").write_bytes(b"half")
            then = time.time() - age
            os.utime(folder / f"cell/2.pt.{name}.tmp", (then, then))
        assert store.names("cell") == ["cell/1.pt"]
        store.remove_leftovers("cell")
        left = sorted(path.name for path in (folder / "cell").iterdir())
        assert left == ["1.pt", "2.pt.young.tmp"]
        store.remove_leftovers("cell", older_than=0)
        assert [path.name for path in (folder / "cell").iterdir()] == ["1.pt"]


def test_a_users_own_server_decides_on_modes_unless_it_is_told(sshd: Sshd, tmp_path: Path) -> None:
    for url, mode in (
        (sshd.url(tmp_path), 0o644),
        (f"{sshd.url(tmp_path)}&files=read-only", 0o444),
    ):
        with opened(url) as store:
            store.write("cell/1.pt", b"1")
            assert (tmp_path / "cell/1.pt").stat().st_mode & 0o777 == mode
            store.write("cell/1.pt", b"2")  # replaced all the same, and removed
            store.remove("cell/1.pt")
    assert list((tmp_path / "cell").iterdir()) == []


@pytest.mark.parametrize("offered", [True, False])
def test_where_nothing_may_be_renamed_a_file_is_linked_to_its_name(
    offered: bool, own_sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = (
        "open,close,read,write,fsync,mkdir,hardlink,stat,lstat,fstat,opendir,readdir,realpath"
    )
    line = own_sshd.authorized_keys.read_text("utf-8")
    own_sshd.authorized_keys.write_text(
        f'restrict,command="internal-sftp -p {requests}" {line}', "utf-8"
    )
    if offered:  # as by OpenSSH before 8.5

        async def refused(*paths: object) -> None:
            raise asyncssh.SFTPPermissionDenied("Permission denied")

        monkeypatch.setattr(asyncssh.SFTPClient, "posix_rename", refused)
    with opened(own_sshd.url()) as store:
        store.write("cell/1.pt", CONTENT[:100_000])
        store.write("cell/1.pt", CONTENT[:100_000])
        for other in (CONTENT[:100_001], CONTENT[:99_999], CONTENT[1:100_001]):
            with pytest.raises(StoreRefusedError, match=r"cell/1\.pt is there already"):
                store.write("cell/1.pt", other)
        assert store.read("cell/1.pt") == CONTENT[:100_000]
        assert store.names("cell") == ["cell/1.pt"]
        with pytest.raises(StoreRefusedError, match="permission denied"):
            store.remove_leftovers("cell")
    own_sshd.authorized_keys.write_text(line, "utf-8")
    with opened(own_sshd.url()) as store:
        store.remove_leftovers("cell")
        left = {path.name.count(".") for path in (own_sshd.store / "cell").iterdir()}
        assert left == {1, 3}  # those that did not get the name are not old yet
        store.remove_leftovers("cell", older_than=0)
        assert [path.name for path in (own_sshd.store / "cell").iterdir()] == ["1.pt"]


@pytest.mark.parametrize("scheme", ["sftp", "s3"])
def test_nobody_who_listens_is_unreachable(scheme: str, sshd: Sshd, aws_keys: None) -> None:
    port = free_port()
    url = (
        sshd.url().replace(f":{sshd.port}/", f":{port}/")
        if scheme == "sftp"
        else f"s3://checkpoints/store?endpoint=http://127.0.0.1:{port}&region=us-east-1"
    )
    with opened(url) as store, pytest.raises(StoreUnreachableError, match="check"):
        store.read("cell/1.pt")


@pytest.mark.parametrize("scheme", ["sftp", "s3"])
def test_a_host_without_an_address_is_unreachable(scheme: str, sshd: Sshd, aws_keys: None) -> None:
    url = (
        sshd.url(host="nowhere.invalid")
        if scheme == "sftp"
        else "s3://checkpoints/store?endpoint=http://nowhere.invalid:9000&region=us-east-1"
    )
    with opened(url) as store, pytest.raises(StoreUnreachableError):
        store.names("cell")


@pytest.mark.parametrize("scheme", ["sftp", "s3"])
def test_who_accepts_and_is_silent_is_unreachable_in_time(
    scheme: str, sshd: Sshd, aws_keys: None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = (
            sshd.url().replace(f":{sshd.port}/", f":{port}/")
            if scheme == "sftp"
            else f"s3://checkpoints/store?endpoint=http://127.0.0.1:{port}&region=us-east-1"
        )
        started = time.monotonic()
        with opened(url) as store, pytest.raises(StoreUnreachableError):
            store.write("cell/1.pt", b"1")
        assert time.monotonic() - started < 5


def in_mid_upload(store: Store, server: Server, act: Callable[[], None]) -> StoreError:
    """What a large write raises when something happens to its server after it began."""
    assert isinstance(server, Sshd)
    folder = server.store / "cell"
    started = threading.Event()

    def wait_and_act() -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if any(path.stat().st_size > 0 for path in folder.glob("*.tmp")):
                started.set()
                act()
                return

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    with pytest.raises(StoreError) as error:
        store.write("cell/2.pt", CONTENT)
    thread.join()
    assert started.is_set(), "the upload was never seen to begin"
    return error.value


def test_a_server_killed_in_mid_upload_leaves_the_old_content(own_sshd: Sshd) -> None:
    with opened(own_sshd.url()) as store:
        store.write("cell/2.pt", b"before")
        error = in_mid_upload(store, own_sshd, own_sshd.stop)
        assert isinstance(error, StoreUnreachableError)
        with pytest.raises(StoreUnreachableError, match="cannot connect"):
            store.names("cell")
        assert (own_sshd.store / "cell/2.pt").read_bytes() == b"before"
        own_sshd.start()
        assert store.names("cell") == ["cell/2.pt"]
        assert [path.name for path in (own_sshd.store / "cell").iterdir()] == ["2.pt"]
        store.write("cell/2.pt", CONTENT)
        assert store.read("cell/2.pt") == CONTENT


def test_a_server_that_stalls_in_mid_upload_is_given_up(
    own_sshd: Sshd, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(own_sshd.url()) as store:
        store.write("cell/2.pt", b"before")
        started = time.monotonic()
        error = in_mid_upload(store, own_sshd, own_sshd.suspend)
        assert isinstance(error, StoreUnreachableError)
        assert "nothing was acknowledged for 1 s" in str(error)
        assert time.monotonic() - started < 6
        own_sshd.resume()
        assert store.read("cell/2.pt") == b"before"
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_a_connection_cut_between_two_calls_is_not_noticed(own_sshd: Sshd) -> None:
    with opened(own_sshd.url()) as store:
        store.write("cell/1.pt", b"1")
        own_sshd.stop()
        own_sshd.start()
        assert store.read("cell/1.pt") == b"1"


def test_s3_without_its_bucket_or_keys_is_refused(
    moto: MotoServer, aws_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "create it" in refused(moto.url(bucket="no-such-bucket"))
    with opened(moto.url(bucket="no-such-bucket")) as store:
        with pytest.raises(StoreRefusedError):
            store.names("cell")
        with pytest.raises(StoreRefusedError):
            store.read("cell/1.pt")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "AWS_ACCESS_KEY_ID" in refused(moto.url())


def test_s3_that_stalls_is_given_up_and_keeps_the_old_content(
    moto: MotoServer, aws_keys: None
) -> None:
    with opened(moto.url("stalled")) as store:
        store.write("cell/1.pt", b"before")
        moto.suspend()
        try:
            for call in (
                lambda: store.write("cell/1.pt", CONTENT),
                lambda: store.read("cell/1.pt"),
                lambda: store.names("cell"),
            ):
                started = time.monotonic()
                with pytest.raises(StoreUnreachableError):
                    call()
                assert time.monotonic() - started < 5
        finally:
            moto.resume()
        assert store.read("cell/1.pt") == b"before"


def test_s3_that_was_started_again_is_found_again(tmp_path: Path, aws_keys: None) -> None:
    with MotoServer(tmp_path / "moto") as server, opened(server.url()) as store:
        store.check()
        server.stop()
        with pytest.raises(StoreUnreachableError):
            store.write("cell/1.pt", b"1")
        server.start()
        store.write("cell/1.pt", b"1")
        assert store.read("cell/1.pt") == b"1"
