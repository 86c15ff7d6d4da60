"""What the installation writes into a home whose owner may have prepared it for that."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tune_app.cloud.head.ray_home import fill_home, forget_token, shell_lines, with_block
from tune_app.cloud.overlay.access import Account

OWNER = "games"
"""A user that every Debian has."""
KEYS = "ssh-ed25519 AAAA me\n"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as other users")


@pytest.fixture
def owner() -> Iterator[Account]:
    """With a home below folders that everybody may pass."""
    account = Account.of(OWNER)
    with tempfile.TemporaryDirectory(prefix="stellux-home-") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        os.chown(home, account.uid, account.gid)
        yield replace(account, home=home)


@pytest.fixture
def secret(owner: Account) -> Path:
    """A file of root's in a folder of root's, which the owner may enter."""
    folder = owner.home.parent / "etc"
    folder.mkdir(mode=0o755)
    path = folder / "key"
    path.write_text("the key\n", "utf-8")
    path.chmod(0o600)
    return path


@as_root
def test_the_login_s_keys_let_in_and_everything_is_the_owner_s(owner: Account) -> None:
    (owner.home / ".bashrc").write_text("alias ll=ls\n", "utf-8")
    for _ in range(2):
        fill_home(owner, keys=KEYS, lines="export A=1")
    assert (owner.home / ".ssh/authorized_keys").read_text("utf-8") == KEYS
    text = (owner.home / ".bashrc").read_text("utf-8")
    assert text == "# Stellux: begin\nexport A=1\n# Stellux: end\nalias ll=ls\n"
    for name, mode in ((".ssh", 0o700), (".ssh/authorized_keys", 0o600), (".bashrc", 0o644)):
        found = (owner.home / name).lstat()
        assert (pwd.getpwuid(found.st_uid).pw_name, found.st_mode & 0o777) == (OWNER, mode)
    assert (os.geteuid(), os.getegid()) == (0, 0)


@as_root
def test_a_link_to_what_only_root_reads_shows_nothing(owner: Account, secret: Path) -> None:
    (owner.home / ".bashrc").symlink_to(secret)
    fill_home(owner, keys=KEYS, lines="export A=1")
    profile = owner.home / ".bashrc"
    assert not profile.is_symlink()
    assert "the key" not in profile.read_text("utf-8")
    assert (secret.read_text("utf-8"), secret.stat().st_uid) == ("the key\n", 0)


@as_root
def test_a_link_to_a_folder_of_root_s_gives_nothing_away(owner: Account, secret: Path) -> None:
    folder = secret.parent
    (owner.home / ".ssh").symlink_to(folder)
    fill_home(owner, keys=KEYS, lines="export A=1")
    assert not (owner.home / ".ssh").is_symlink()
    assert (owner.home / ".ssh/authorized_keys").read_text("utf-8") == KEYS
    assert sorted(path.name for path in folder.iterdir()) == ["key"]
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (0, 0o755)


@as_root
@pytest.mark.parametrize("link", [".ssh/authorized_keys", ".profile"])
def test_a_link_in_the_place_of_a_file_is_replaced(owner: Account, secret: Path, link: str) -> None:
    (owner.home / ".ssh").mkdir()
    os.chown(owner.home / ".ssh", owner.uid, owner.gid)
    (owner.home / link).symlink_to(secret)
    fill_home(owner, keys=KEYS, lines="export A=1")
    assert not (owner.home / link).is_symlink()
    assert (secret.read_text("utf-8"), secret.stat().st_uid) == ("the key\n", 0)


@as_root
def test_the_token_is_forgotten_and_a_link_in_its_place_alone_is_removed(
    owner: Account, secret: Path
) -> None:
    forget_token(owner)
    with owner.acting():
        (owner.home / ".ray").mkdir()
        (owner.home / ".ray/auth_token").symlink_to(secret)
    forget_token(owner)
    assert not (owner.home / ".ray/auth_token").is_symlink()
    assert secret.read_text("utf-8") == "the key\n"


def test_the_shell_s_own_lines_are_replaced_and_the_rest_stays() -> None:
    once = with_block("theirs\n", shell_lines("sftp://x"))
    assert with_block(once, shell_lines("sftp://x")) == once
    assert once.endswith("# Stellux: end\ntheirs\n")
