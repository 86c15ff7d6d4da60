"""What an installation makes on the head: whose it is, and that it opens what it should."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tune_app.stores.servers import SSHD, free_port
from tune_app.cloud.head.units import unit_text
from tune_app.cloud.market.instance_request import WorkerStart
from tune_app.cloud.market.labels import Label
from tune_app.cloud.overlay import access
from tune_app.cloud.overlay.access import grant_access
from tune_app.cloud.overlay.addresses import HEAD
from tune_app.cloud.overlay.authorized import AuthorizedKeys
from tune_app.cloud.overlay.settings import OverlaySettings, load_overlay_settings
from tune_app.cloud.overlay.setup import OverlaySetup, installed_openssh
from tune_app.cloud.overlay.sshd_config import sshd_config
from tune_app.cloud.overlay.worker_script import home_relative, store_url
from tune_app.cloud.secrets.ssh_keys import KeyPair
from tune_app.stores.open import open_store

ROOT = Path(__file__).parents[4]
OWNER, USER, STORE_USER = "daemon", "games", "nobody"
"""Users that every Debian has."""


class Place:
    """A head's folders, somewhere below root's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "lib" / "overlay"
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        os.chown(self.home, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
        self.own = self.home / ".stellux"
        self.store = folder / "srv"
        self.agents = folder / "agents"
        self.port = free_port()
        self.settings = folder / "overlay.json"
        told = {
            "head": "127.0.0.1",
            "port": self.port,
            "store_user": STORE_USER,
            "store_root": str(self.store),
        }
        self.settings.write_text(json.dumps(told), "utf-8")

    @property
    def overlay(self) -> OverlaySettings:
        return load_overlay_settings(self.settings)

    def install(self) -> subprocess.CompletedProcess[str]:
        """Runs the command, in a process whose mask lets nobody else read."""
        words = [str(self.settings), "--folder", str(self.folder), "--home", str(self.home)]
        words += ["--owner", OWNER, "--user", USER]
        for key in ("store", "updater"):
            words += [f"--{key}-agent", str(self.socket(key))]
        return subprocess.run(
            [sys.executable, "-m", access.MODULE, *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            cwd=ROOT,
            umask=0o077,
        )

    def socket(self, key: str) -> Path:
        """Where the agent of a key listens."""
        return self.agents / key / "socket"

    @contextmanager
    def agent(self, key: str) -> Iterator[subprocess.Popen[bytes]]:
        """The agent of a key, as its unit starts it."""
        text = unit_text(f"stellux-{key}-agent.service")
        text = text.replace("/var/lib/stellux/agents", str(self.agents))
        text = text.replace("/var/lib/stellux/overlay", str(self.folder))
        lines = dict(one.split("=", 1) for one in text.splitlines() if one.startswith("Exec"))
        account = pwd.getpwnam(USER)
        told = {"SSH_AUTH_SOCK": str(self.socket(key)), "PATH": os.environ["PATH"]}
        server = subprocess.Popen(
            shlex.split(lines["ExecStart"]),
            env=told,
            stdout=subprocess.DEVNULL,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
        )
        try:
            adds = shlex.split(lines["ExecStartPost"].removeprefix("+"))
            subprocess.run(adds, check=True, env=told, timeout=20)
            yield server
        finally:
            server.terminate()
            server.wait(10)

    def contents(self) -> dict[str, bytes]:
        """All files, by their path."""
        base = self.home.parent
        return {
            str(path.relative_to(base)): path.read_bytes()
            for path in sorted(base.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def place() -> Iterator[Place]:
    if os.getuid() != 0:
        pytest.skip("only root makes other users' files")
    for name in (OWNER, USER, STORE_USER):
        try:
            pwd.getpwnam(name)
        except KeyError:
            pytest.skip(f"no user {name} here")
    with tempfile.TemporaryDirectory(dir="/var/lib", prefix="access-") as name:
        Path(name).chmod(0o755)
        yield Place(Path(name))


def owned(path: Path) -> tuple[str, str]:
    """Whose something is, and who may do what with it."""
    state = path.lstat()
    return pwd.getpwuid(state.st_uid).pw_name, oct(stat.S_IMODE(state.st_mode))[2:]


def test_everything_belongs_to_who_has_to_write_it(place: Place) -> None:
    done = place.install()
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert owned(place.folder.parent) == ("root", "755")
    assert owned(place.folder) == (OWNER, "755")
    assert owned(place.folder / "authorized") == (OWNER, "755")
    assert owned(place.folder / "authorized" / STORE_USER) == (OWNER, "644")
    for name in ("host_key", "updater_key", "store_key"):
        assert owned(place.folder / name) == (OWNER, "600")
    assert owned(place.own) == (USER, "700")
    assert (place.own / "store_key").readlink() == place.socket("store")
    for key in ("store", "updater"):
        assert owned(place.agents / key) == (USER, "700")
    assert owned(place.own / "known_hosts")[0] == USER
    public = KeyPair.parse((place.folder / "updater_key").read_text("ascii")).public
    assert (place.own / "updater_key.pub").read_text("ascii") == f"{public}\n"
    assert (place.own / "known_workers").readlink() == place.folder / "known_workers"
    assert owned(place.store) == ("root", "755")
    assert owned(place.store / "store") == (STORE_USER, "700")


def test_a_second_run_keeps_all_keys_and_all_workers(place: Place) -> None:
    assert place.install().returncode == 0
    setup = OverlaySetup(place.overlay, place.folder)
    setup.prepare(WorkerStart(), Label(cluster="mine", node_type="gpu", k=2, attempt="r"))
    before = place.contents()
    assert place.install().returncode == 0
    assert place.contents() == before
    # The head is no worker: nobody expects a link of its.
    authorized = setup.files.authorized
    assert AuthorizedKeys(authorized(place.overlay.link_user)).workers() == {2}
    assert AuthorizedKeys(authorized(STORE_USER)).workers() == {HEAD, 2}
    setup.revoke(2)
    assert AuthorizedKeys(authorized(STORE_USER)).workers() == {HEAD}


def test_what_an_earlier_version_stored_is_read_only_from_now_on(place: Place) -> None:
    assert place.install().returncode == 0
    cell, user = place.store / "store" / "cell", pwd.getpwnam(STORE_USER)
    outside = place.home.parent / "outside"
    outside.write_bytes(b"of the same user, elsewhere")
    cell.mkdir()
    (cell / "1.pt").write_bytes(b"state")
    (cell / "link").symlink_to(outside)
    for path in (cell, cell / "1.pt", outside):
        os.chown(path, user.pw_uid, user.pw_gid)
        path.chmod(0o755 if path.is_dir() else 0o644)
    done = place.install()
    assert (done.returncode, done.stderr) == (0, "")
    assert owned(cell / "1.pt") == (STORE_USER, "444")
    assert owned(cell) == (STORE_USER, "755")
    assert owned(outside) == (STORE_USER, "644")


def test_a_copy_that_is_out_of_date_is_replaced(place: Place) -> None:
    assert place.install().returncode == 0
    right = (place.own / "updater_key.pub").read_text("ascii")
    (place.own / "updater_key.pub").write_text(KeyPair.new().public, "ascii")
    (place.own / "known_workers").unlink()
    (place.own / "known_workers").write_text("old", "utf-8")
    assert place.install().returncode == 0
    assert (place.own / "updater_key.pub").read_text("ascii") == right
    assert (place.own / "known_workers").is_symlink()


LOOK = """
import os, sys
for folder in sys.argv[2:]:
    for place, _, names in os.walk(folder):
        for path in (os.path.join(place, name) for name in names):
            try:
                with open(path, "rb") as file:
                    private = b"PRIVATE KEY" in file.read()
            except OSError:
                continue
            print("private" if private else "harmless", path)
for name in ("mem", "environ", "root", "fd"):
    path = f"/proc/{sys.argv[1]}/{name}"
    try:
        os.listdir(path) if name in ("root", "fd") else open(path, "rb").close()
    except PermissionError:
        continue
    print("traced", path)
"""


@pytest.mark.parametrize("key", ["store", "updater"])
def test_rays_user_has_its_keys_used_and_reads_none(place: Place, key: str) -> None:
    place.own.mkdir()
    os.chown(place.own, pwd.getpwnam(USER).pw_uid, -1)
    for name in ("store_key", "updater_key"):  # of an earlier version
        (place.own / name).write_text(KeyPair.new().file_text, "ascii")
        os.chown(place.own / name, pwd.getpwnam(USER).pw_uid, -1)
    assert place.install().returncode == 0
    account = pwd.getpwnam(USER)

    def as_user(*words: str) -> str:
        return subprocess.run(
            words,
            check=True,
            capture_output=True,
            text=True,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            env={"SSH_AUTH_SOCK": str(place.socket(key)), "PATH": os.environ["PATH"]},
            cwd="/",
            timeout=20,
        ).stdout

    with place.agent(key) as agent:
        held = KeyPair.parse((place.folder / f"{key}_key").read_text("ascii")).public
        assert [line.split()[:2] for line in as_user("ssh-add", "-L").splitlines()] == [
            held.split()[:2]
        ]
        seen = as_user("/usr/bin/python3", "-c", LOOK, str(agent.pid), str(place.home.parent))
        words = [line.split()[0] for line in seen.splitlines()]
        assert "harmless" in words
        assert set(words) == {"harmless"}, seen


def test_a_link_in_a_users_folder_leads_root_nowhere(place: Place) -> None:
    place.own.mkdir()
    os.chown(place.own, pwd.getpwnam(USER).pw_uid, -1)
    target = place.home.parent / "roots"
    target.mkdir(mode=0o700)
    (target / "store_key").write_text("root's", "utf-8")
    (place.own / "store_key").symlink_to(target / "store_key")
    (place.own / "updater_key.pub").symlink_to(target / "store_key")
    assert place.install().returncode == 0
    assert (place.own / "store_key").readlink() == place.socket("store")
    assert not (place.own / "updater_key.pub").is_symlink()
    assert (target / "store_key").read_text("utf-8") == "root's"


@contextmanager
def sshd(place: Place) -> Iterator[None]:
    """The head's second SSH server, as the files tell it."""
    assert SSHD is not None
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = place.home.parent / "sshd_config"
    version = installed_openssh()
    config.write_text(sshd_config(place.overlay, str(place.folder), version=version), "utf-8")
    command = [SSHD, "-D", "-e", "-f", str(config)]
    with (place.home.parent / "log").open("ab") as log:
        server = subprocess.Popen(command, stderr=log)
    try:
        end = time.monotonic() + 10
        while b"listening" not in (place.home.parent / "log").read_bytes():
            assert time.monotonic() < end, (place.home.parent / "log").read_text("utf-8")
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(10)


def test_one_url_opens_the_store_from_the_heads_own_home(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    if SSHD is None:
        pytest.skip("no sshd; apt-get install openssh-server")
    assert place.install().returncode == 0
    monkeypatch.setenv("HOME", str(place.home))
    with sshd(place), place.agent("store"):
        store = open_store(store_url(place.overlay, f"/{access.STORE}"))
        try:
            store.write("cell/1.pt", b"state")
        finally:
            store.close()
    assert (place.store / "store" / "cell" / "1.pt").read_bytes() == b"state"
    assert owned(place.store / "store" / "cell" / "1.pt")[0] == STORE_USER


def test_a_user_who_is_not_there_is_named(place: Place) -> None:
    with pytest.raises(ValueError, match=r"no user 'nobody-has-this-name'.*useradd"):
        grant_access(
            place.overlay,
            place.folder,
            owner="nobody-has-this-name",
            user=USER,
            store_agent=place.socket("store"),
            updater_agent=place.socket("updater"),
            home=place.home,
        )
    assert not place.folder.exists()


def test_only_root_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PermissionError, match="run it as root"):
        grant_access(
            OverlaySettings(head="h"),
            tmp_path / "overlay",
            owner="a",
            user="b",
            store_agent=tmp_path / "store" / "socket",
            updater_agent=tmp_path / "updater" / "socket",
        )
    assert not (tmp_path / "overlay").exists()


def test_what_is_roots_on_workers_is_everybodys_own_on_the_head() -> None:
    assert home_relative("/root/.stellux") == "~/.stellux"
    assert home_relative("/root/a/b") == "~/a/b"
    assert home_relative("/rooted/a") == "/rooted/a"
