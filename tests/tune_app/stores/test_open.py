"""URLs of stores: what they mean, what is refused, and that none holds or repeats a secret."""

from __future__ import annotations

import getpass
import shutil
from pathlib import Path

import pytest

from tests.tune_app.stores.servers import Sshd
from tune_app.stores.open import below, from_folder, open_store, store_and_name


@pytest.mark.parametrize(
    ("url", "again"),
    [
        ("/srv/store", "/srv/store"),
        ("file:///srv/my%20store", "/srv/my store"),
        ("sftp://me@head/srv/store", "sftp://me@head:22/srv/store"),
        ("sftp://head/~/store/", f"sftp://{getpass.getuser()}@head:22/~/store"),
        (
            "sftp://me@[::1]:2222/a%20b?key=~/.ssh/id&known_hosts=/etc/k",
            "sftp://me@[::1]:2222/a%20b?key=~/.ssh/id&known_hosts=/etc/k",
        ),
        ("sftp://me@head/a?files=read-only&key=~/k", "sftp://me@head:22/a?key=~/k&files=read-only"),
        ("s3://bucket", "s3://bucket"),
        (
            "s3://bucket/a/b/?endpoint=http://127.0.0.1:9000/&region=eu-west-1",
            "s3://bucket/a/b?endpoint=http://127.0.0.1:9000&region=eu-west-1",
        ),
    ],
)
def test_a_url_opens_a_store_that_names_itself(url: str, again: str) -> None:
    store = open_store(url)
    assert store.url == again
    assert open_store(again).url == again
    assert again in repr(store)


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError("No username set")])
def test_a_user_without_a_name_is_asked_for_one(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As in a container that runs with any uid; the error differs between Pythons."""

    def nameless() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nameless)
    with pytest.raises(ValueError, match="this user has no name; give one in the URL"):
        open_store("sftp://head/srv/store")
    assert open_store("sftp://me@head/srv/store").url.startswith("sftp://me@head")


def test_a_path_does_not_depend_on_where_a_process_works() -> None:
    assert open_store("runs/store").url == str(Path.cwd() / "runs/store")
    assert open_store("~/store").url == str(Path.home() / "store")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("", "empty"),
        ("ftp://host/path", "ftp"),
        ("file://host/path", "file:///srv/store"),
        ("sftp://me@head", "a folder"),
        ("sftp://me@head:seventy/srv", "seventy"),
        ("sftp://me@head/srv?identity=/k", "identity"),
        ("sftp://me@head/srv?key=", "key"),
        ("sftp://me@head/srv?key=id", "key=id"),
        ("sftp://me@head/srv?key=/a&key=/b", "twice"),
        ("sftp://me@head/srv?files=read-write", "files=read-only"),
        ("sftp://me@head/srv#1", "%23"),
        ("s3:///prefix", "bucket"),
        ("s3://Bucket_/prefix", "bucket"),
        ("s3://bucket/a?endpoint=127.0.0.1:9000", "http"),
    ],
)
def test_a_wrong_url_is_refused_with_an_example(url: str, named: str) -> None:
    with pytest.raises(ValueError, match=r"://|%23|twice") as error:
        open_store(url)
    assert named in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "sftp://me:hunter2@head/srv",
        "sftp://me@head/srv?password=hunter2",
        "s3://AKIA:hunter2@bucket/prefix",
        "s3://hunter2@bucket/prefix",
        "s3://bucket/prefix?secret_key=hunter2",
        "s3://bucket/prefix?endpoint=http://me:hunter2@host:9000",
        "file://me:hunter2@host/srv",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError) as error:
        open_store(url)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "store",
    ["/srv/a store", "file:///srv", "sftp://me@head:22/srv?key=~/k", "s3://bucket/p?region=x"],
)
def test_the_url_of_an_object_leads_back_to_its_store(store: str) -> None:
    assert store_and_name(below(store, "cell/7-ab.pt")) == (store, "cell/7-ab.pt")


def test_an_object_inside_a_folder_is_named_from_there(tmp_path: Path) -> None:
    assert from_folder(f"{tmp_path}/store/cell/7.pt", tmp_path) == "store/cell/7.pt"
    for url in ("s3://bucket/cell/7.pt", "/srv/cell/7.pt"):
        assert from_folder(url, tmp_path) == url


def test_an_sftp_path_can_be_relative_to_the_home_folder(
    sshd: Sshd,
) -> None:
    folder = Path(f"~{sshd.user}").expanduser() / f".stellux-test-{sshd.port}"
    store = open_store(sshd.url(f"/~/{folder.name}/below"))
    try:
        store.write("cell/1.pt", b"1")
        assert (folder / "below/cell/1.pt").read_bytes() == b"1"
        assert store.names("cell") == ["cell/1.pt"]
        assert (store.free_bytes() or 0) > 0
    finally:
        store.close()
        shutil.rmtree(folder, ignore_errors=True)
