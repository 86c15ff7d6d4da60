"""What an installation starts, and how it keeps the account's key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tune_app.cloud.head import install
from tune_app.cloud.head.start import store_key
from tune_app.cloud.head.units import ENABLED, FIREWALL, KEEPER, SSHD, UNITS
from tune_app.cloud.secrets.key import ApiKey


def test_the_firewall_is_started_before_anything_that_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(install, "UNIT_FOLDER", tmp_path / "units")
    monkeypatch.setattr(install, "SUDOERS", tmp_path / "sudoers.d" / "stellux")
    monkeypatch.setattr(install, "systemctl", lambda *words: asked.append(words))
    (tmp_path / "units").mkdir()
    install._services()
    assert {path.name for path in (tmp_path / "units").iterdir()} == set(UNITS)
    assert asked == [
        ("daemon-reload",),
        ("enable", *ENABLED),
        ("reload-or-restart", FIREWALL),
        ("restart", SSHD),
        ("restart", KEEPER),
    ]
    assert (tmp_path / "sudoers.d" / "stellux").stat().st_mode & 0o777 == 0o440


def test_only_root_may_read_the_accounts_key(tmp_path: Path) -> None:
    path = tmp_path / "vast_key"
    before = os.umask(0)
    try:
        store_key(ApiKey("the-account-s-key"), path)
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
        store_key(ApiKey("another-key"), path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "another-key\n"
