"""Compiled code in a store: who may take it, and what is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_app.stores.base import StoreFullError
from tune_app.stores.path import PathStore
from tune_app.trial import shipped_code as module
from tune_app.trial.shipped_code import FOLDER, ShippedCode, refusal, shipped_code

SHAPE = {"config": {"d_model": 16}, "sequences": 4}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / FOLDER).mkdir(parents=True)
    for path in (folder, folder / FOLDER):
        path.chmod(0o755)
    return folder


def test_code_is_found_by_its_shape(own: Path) -> None:
    code = ShippedCode(PathStore(own))
    assert code.find(SHAPE, device="cpu") is None
    code.keep(SHAPE, b"first", device="cpu")
    assert code.find(SHAPE, device="cpu") == b"first"
    assert code.find({**SHAPE, "sequences": 8}, device="cpu") is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("torch.__version__", "2.14.0"),
        ("platform.python_version", lambda: "3.12.0"),
        ("platform.machine", lambda: "aarch64"),
        ("torch.cpu.get_capabilities", lambda: {"avx512_bf16": False}),
        ("torch.get_num_threads", lambda: 96),
    ],
)
def test_code_of_another_machine_or_version_is_not_taken(
    own: Path, monkeypatch: pytest.MonkeyPatch, place: str, value: object
) -> None:
    code = ShippedCode(PathStore(own))
    code.keep(SHAPE, b"first", device="cpu")
    monkeypatch.setattr(place, value)
    assert code.find(SHAPE, device="cpu") is None


def test_damaged_code_is_removed_and_the_reason_is_said(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = ShippedCode(PathStore(own))
    code.keep(SHAPE, b"first", device="cpu")
    code.spoilt(SHAPE, "Bad CRC", device="cpu")
    assert "is damaged (Bad CRC)" in caplog.text
    assert code.find(SHAPE, device="cpu") is None


def test_the_oldest_and_the_too_large_are_not_kept(
    own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 2)
    monkeypatch.setattr(module, "MOST_PACKED", 10)
    now = iter(range(10))
    code = ShippedCode(PathStore(own), clock=lambda: next(now))
    shapes = [{"sequences": number} for number in range(4)]
    for shape in shapes[:3]:
        code.keep(shape, b"code", device="cpu")
    code.keep(shapes[3], b"eleven bytes", device="cpu")
    found = [code.find(shape, device="cpu") for shape in shapes]
    assert found == [None, b"code", b"code", None]
    assert "12 bytes is not stored; the limit is 10" in caplog.text
    monkeypatch.setattr(module, "MOST_PACKED", 3)
    assert code.find(shapes[1], device="cpu") is None
    assert "larger than 3 bytes" in caplog.text


def test_a_store_that_fails_is_no_failure_of_the_trial(
    own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(name: str, content: bytes) -> None:
        raise StoreFullError("no room")

    store = PathStore(own)
    monkeypatch.setattr(store, "write", full)
    ShippedCode(store).keep(SHAPE, b"first", device="cpu")
    assert "compiled code is not stored: no room" in caplog.text
    ShippedCode(PathStore(own / "away")).find(SHAPE, device="cpu")
    assert "compiled code is not taken" in caplog.text


def test_only_a_folder_of_ones_own_is_trusted(own: Path, tmp_path: Path) -> None:
    assert refusal(str(own)) == ""
    assert refusal(f"file://{own}") == ""
    assert refusal(str(own / "not" / "yet")) == ""
    assert "not a folder" in refusal("sftp://user@host/store")
    assert "not a folder" in refusal("s3://bucket/prefix")
    (own / FOLDER).chmod(0o775)
    assert "others can write" in refusal(str(own))
    (own / FOLDER).chmod(0o755)
    own.chmod(0o1777)
    assert "others can write" in refusal(str(own)), "anyone could make its folder first"
    assert refusal(str(own / "mine")) == "", "as in /tmp: whose is in it is protected"
    own.chmod(0o777)
    assert "others can write" in refusal(str(own / "mine"))


def test_another_users_folder_is_not_trusted(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may own what is above; this user is neither root nor the owner.
    monkeypatch.setattr("os.getuid", lambda: 12345)
    if own.stat().st_uid == 0:
        pytest.skip("the tests run as root, whom everybody has to trust")
    assert "belongs to another user" in refusal(str(own))


def test_what_is_shared_follows_from_the_option(own: Path) -> None:
    assert shipped_code(str(own), "auto") is not None
    assert shipped_code(str(own), "off") is None
    own.chmod(0o777)
    assert shipped_code(str(own), "auto") is None
    assert shipped_code(str(own), "on") is not None
    assert shipped_code("sftp://user@host/store", "auto") is None
