"""What every kind of store does, on a real folder, a real sshd and an S3 server."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.tune_app.stores.servers import MotoServer, Sshd
from tune_app.stores.base import NotStoredError, Store, StoreUnreachableError
from tune_app.stores.open import open_store
from tune_app.stores.s3 import S3Store

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["path", "sftp", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    name = f"{os.getpid()}-{tmp_path.name}"
    if request.param == "path":
        url = str(tmp_path / "store")
    elif request.param == "sftp":
        sshd: Sshd = request.getfixturevalue("sshd")
        url = sshd.url(sshd.store / name)
    else:
        request.getfixturevalue("aws_keys")
        moto: MotoServer = request.getfixturevalue("moto")
        url = moto.url(name)
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.mark.parametrize("size", [0, 3, 20_000_000])
def test_what_was_written_is_read(store: Store, size: int) -> None:
    content = random.Random(size).randbytes(size)
    store.write("cell/1024.pt", memoryview(content))
    assert store.read("cell/1024.pt") == content


def test_names_are_those_of_the_folder_alone(store: Store) -> None:
    store.check()
    assert store.names("cell") == []
    for name in ("cell/2.pt", "cell/10.pt", "cell/deeper/3.pt", "cell2/4.pt", "größe 5%?#.pt"):
        store.write(name, name.encode())
    assert store.names("cell") == ["cell/10.pt", "cell/2.pt"]
    assert store.names("cell/deeper") == ["cell/deeper/3.pt"]
    assert store.names("") == ["größe 5%?#.pt"]
    assert store.names("cell/2.pt") == []
    assert store.read("größe 5%?#.pt") == "größe 5%?#.pt".encode()


def test_removing_twice_is_no_error(store: Store) -> None:
    store.write("cell/1.pt", b"1")
    store.remove("cell/1.pt")
    store.remove("cell/1.pt")
    store.remove("never/was.pt")
    assert store.names("cell") == []


@pytest.mark.parametrize("name", ["cell/2.pt", "nowhere/1.pt", "cell", "cell/1.pt/below"])
def test_what_is_not_there_cannot_be_read(store: Store, name: str) -> None:
    store.write("cell/1.pt", b"1")
    with pytest.raises(NotStoredError, match=name):
        store.read(name)
    assert store.read("cell/1.pt") == b"1"


@pytest.mark.parametrize("name", ["", "/1.pt", "../1.pt", "a//1.pt", "a/./1", "1.pt.tmp", "a\n"])
def test_what_is_no_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match=r"invalid name"):
        store.write(name, b"1")


def test_a_reader_sees_the_old_content_or_the_new(store: Store) -> None:
    contents = [bytes([value]) * 300_000 for value in range(10)]
    store.write("cell/best.pt", contents[0])
    done = threading.Event()

    def write() -> None:
        writer = open_store(store.url)
        for content in contents:
            writer.write("cell/best.pt", content)
        writer.close()
        done.set()

    seen = []
    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        seen.append(store.read("cell/best.pt"))
        assert store.names("cell") == ["cell/best.pt"]
    thread.join()
    assert set(seen) <= set(contents)
    assert store.read("cell/best.pt") == contents[-1]


def test_several_threads_share_one_store(store: Store) -> None:
    def work(number: int) -> bytes:
        content = random.Random(number).randbytes(100_000)
        store.write(f"cell/{number}.pt", content)
        assert store.read(f"cell/{number}.pt") == content
        return content

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(work, range(16)))) == 16
    assert len(store.names("cell")) == 16


def test_another_process_opens_it_by_its_url(store: Store) -> None:
    store.write("cell/1.pt", b"from here")
    program = (
        "import sys\n"
        "from tune_app.stores.open import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "store.write('cell/2.pt', store.read('cell/1.pt') + b' to there')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, store.url],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert store.read("cell/2.pt") == b"from here to there"


def test_a_check_leaves_nothing(store: Store) -> None:
    store.check()
    assert store.names("") == []


def test_a_closed_store_opens_again(store: Store) -> None:
    store.write("cell/1.pt", b"1")
    store.close()
    store.close()
    assert store.read("cell/1.pt") == b"1"


def test_room_is_a_number_or_unknown(store: Store) -> None:
    free = store.free_bytes()
    assert free is None or free > 0
    assert (free is None) == store.url.startswith("s3://")


@pytest.mark.parametrize("kind", ["path", "sftp"])
def test_a_store_that_is_away_is_not_taken_for_an_empty_one(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    folder, url = tmp_path / "store", str(tmp_path / "store")
    if kind == "sftp":
        sshd: Sshd = request.getfixturevalue("sshd")
        url = sshd.url(folder)
    store = open_store(url)
    store.write("cell/1.pt", b"one")
    folder.rename(tmp_path / "away")
    for call in (lambda: store.names("cell"), lambda: store.read("cell/1.pt")):
        with pytest.raises(StoreUnreachableError, match=r"is missing"):
            call()
    (tmp_path / "away").rename(folder)
    assert store.names("cell") == ["cell/1.pt"]
    store.close()


class Collected:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        self.content += data
        return len(data)


@pytest.mark.parametrize("size", [3, 34_000_000])
def test_what_was_streamed_comes_back_in_a_stream(store: Store, size: int) -> None:
    content = random.Random(size).randbytes(size)
    with store.writing("cell/1024.pt") as sink:
        for start in range(0, size, 7_654_321):
            sink.write(memoryview(content)[start : start + 7_654_321])
        other = open_store(store.url)
        assert other.names("cell") == []
        other.close()
    sink = Collected()
    store.fetch("cell/1024.pt", sink)
    assert sink.content == content
    with store.reading("cell/1024.pt") as file:
        file.seek(size // 2)
        assert file.read() == content[size // 2 :]


def test_a_stream_that_breaks_off_leaves_what_was_there(store: Store) -> None:
    store.write("cell/1.pt", b"old")
    with pytest.raises(KeyError, match="ours"), store.writing("cell/1.pt") as sink:
        sink.write(b"new" * 12_000_000)
        raise KeyError("ours")
    assert store.read("cell/1.pt") == b"old"
    assert store.names("cell") == ["cell/1.pt"]
    with pytest.raises(NotStoredError, match=r"cell/2\.pt"):
        store.fetch("cell/2.pt", Collected())
    with pytest.raises(NotStoredError, match=r"cell/2\.pt"), store.reading("cell/2.pt"):
        pass


def test_a_bucket_takes_large_objects_in_parts(aws_keys: None, moto: MotoServer) -> None:
    url = open_store(moto.url("parts")).url
    bucket, _, rest = url.removeprefix("s3://").partition("/")
    prefix, _, options = rest.partition("?")
    endpoint = dict(pair.split("=") for pair in options.split("&"))["endpoint"]
    store = S3Store(bucket, prefix, endpoint=endpoint, part_bytes=5 * 2**20)
    content = random.Random(1).randbytes(12_000_000)
    with store.writing("cell/1.pt") as sink:
        sink.write(content)
        assert store._connected.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert store.read("cell/1.pt") == content
    with pytest.raises(KeyError), store.writing("cell/2.pt") as sink:
        sink.write(content)
        raise KeyError
    assert "Uploads" not in store._connected.list_multipart_uploads(Bucket=bucket)
    assert store.names("cell") == ["cell/1.pt"]
    store._connected.create_multipart_upload(Bucket=bucket, Key=f"{prefix}/cell/3.pt")
    store.remove_leftovers("cell")  # to moto every upload is from 2010
    assert "Uploads" not in store._connected.list_multipart_uploads(Bucket=bucket)
    store.close()
