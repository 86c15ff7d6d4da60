"""Whom the head lets in, and for what: the lines, and the file that holds them."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tune_app.cloud.overlay.addresses import HEAD
from tune_app.cloud.overlay.authorized import (
    AuthorizedKeys,
    link_line,
    store_line,
    with_line,
)
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.overlay.sshd_config import openssh_version, sshd_config
from tune_app.cloud.secrets.ssh_keys import KeyPair, key_file
from tune_app.cloud.whole_files import write_file

SETTINGS = OverlaySettings(head="head.example", last_k=4)
PUBLIC = "ssh-ed25519 " + "A" * 68
GUIDE = Path(__file__).parents[4] / "docs/security.md"


def test_a_worker_listens_at_its_own_ports_and_opens_the_heads() -> None:
    line = link_line(SETTINGS, 3, PUBLIC)
    assert line.startswith('restrict,port-forwarding,command="/bin/false",')
    assert line.endswith(f" {PUBLIC} stellux-3")
    listens = re.findall(r'permitlisten="([^"]*)"', line)
    assert {one.split(":")[0] for one in listens} == {"127.77.0.3"}
    assert all(20_300 <= int(one.split(":")[1]) < 20_400 for one in listens)
    opens = re.findall(r'permitopen="([^"]*)"', line)
    assert {one.split(":")[0] for one in opens} == {"127.77.0.1"}
    assert {"127.77.0.1:6379", "127.77.0.1:20100", "127.77.0.1:20108"} < set(opens)
    assert "127.77.0.1:20309" in opens
    assert not any(one.endswith((":22", ":*", ":20209", ":20409")) for one in opens + listens)


def test_where_workers_reach_each_other_their_ssh_servers_are_still_the_heads_alone() -> None:
    line = link_line(replace(SETTINGS, between_workers=True), 3, PUBLIC)
    opens = re.findall(r'permitopen="([^"]*)"', line)
    assert {one.split(":")[0] for one in opens} == {f"127.77.0.{k}" for k in (1, 2, 4)}
    assert "127.77.0.2:20201" in opens
    assert not any(one.endswith((":20206", ":20406", ":20209")) for one in opens)


def test_the_store_has_a_line_of_its_own() -> None:
    assert store_line(SETTINGS, HEAD, PUBLIC) == (
        f'restrict,command="internal-sftp" {PUBLIC} stellux-{HEAD}'
    )
    only = store_line(SETTINGS, 2, PUBLIC).partition("internal-sftp -p ")[2].partition('"')[0]
    changes = {"remove", "rename", "posix-rename", "setstat", "fsetstat", "lsetstat", "rmdir"}
    assert "open" in only.split(",")
    assert not {*changes, "symlink", "copy-data"} & set(only.split(","))
    assert f'"internal-sftp -p {only}"' in GUIDE.read_text("utf-8")  # for servers of users' own


@pytest.mark.parametrize("k", [0, 1, 5, True])
def test_no_line_for_a_number_outside_the_overlay(k: int) -> None:
    with pytest.raises(ValueError, match="must be 2 to 4"):
        link_line(SETTINGS, k, PUBLIC)


@pytest.mark.parametrize(
    "public", ["", "ssh-rsa AAAA", f"{PUBLIC}\nssh-ed25519 evil", f"{PUBLIC} x"]
)
def test_only_a_public_key_gets_into_a_line(public: str) -> None:
    with pytest.raises(ValueError, match="not a public key"):
        link_line(SETTINGS, 2, public)


def test_a_worker_has_one_line_and_others_keep_theirs() -> None:
    text = with_line("# by hand\nkey-a stellux-1\n\nkey-b stellux-12\n", 1, "key-c stellux-1")
    assert text == "# by hand\nkey-b stellux-12\nkey-c stellux-1\n"
    assert with_line(text, 12, None) == "# by hand\nkey-c stellux-1\n"
    assert with_line("", 7, None) == ""


def test_many_threads_let_in_and_out(tmp_path: Path) -> None:
    file = AuthorizedKeys(tmp_path / "keys")

    def turn(k: int) -> None:
        for _ in range(3):
            file.put(k, f"key stellux-{k}")
            if k % 2:
                file.remove(k)
                file.remove(k)

    threads = [threading.Thread(target=turn, args=[k]) for k in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.workers() == {2, 4, 6, 8}
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
    assert file.path.stat().st_mode & 0o777 == 0o644


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    made = key_file(tmp_path / "folder" / "key")
    assert key_file(tmp_path / "folder" / "key").public == made.public
    assert (tmp_path / "folder" / "key").stat().st_mode & 0o777 == 0o600
    assert KeyPair.parse(made.file_text).public == made.public
    assert made.private not in repr(made)


def test_what_is_no_key_is_left_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff my notes")
    with pytest.raises(ValueError, match="move it away"):
        key_file(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == b"\xff my notes"


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_file(tmp_path / "taken", "text", mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_second_server_is_for_workers_alone() -> None:
    text = sshd_config(SETTINGS, "/var/lib/stellux")
    everybody, links, store = re.split(r"(?m)^Match .*\n", text)
    assert "Port 7722\n" in everybody
    assert "AuthorizedKeysFile /var/lib/stellux/authorized/%u\n" in everybody
    assert "AllowUsers stellux-link stellux-store\n" in everybody
    assert "AllowTcpForwarding no\n" in everybody
    assert "ForceCommand /bin/false\n" in everybody
    assert "GatewayPorts clientspecified\n" in links
    assert "MaxSessions 0\n" in links
    assert "ChrootDirectory /srv/stellux\n" in store
    assert "DisableForwarding yes\n" in store


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19", False),
        ("OpenSSH_9.8p1, OpenSSL 3.2", True),
        ("OpenSSH_10.0p2 Debian-7", True),
        ("another", False),
    ],
)
def test_a_server_that_penalises_addresses_is_told_not_to(said: str, known: bool) -> None:
    text = sshd_config(SETTINGS, "/var/lib/stellux", version=openssh_version(said))
    assert ("PerSourcePenalties no\n" in text) == known


@pytest.mark.parametrize("folder", ["relative", "/a b", "/a\nPermitRootLogin yes", "/a%h", '/a"'])
def test_a_folder_that_no_configuration_could_name(folder: str) -> None:
    with pytest.raises(ValueError, match="absolute path"):
        sshd_config(SETTINGS, folder)
