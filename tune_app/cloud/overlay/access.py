"""Makes the overlay's keys and folders at installation, and the head's own way to both.

python -m tune_app.cloud.overlay.access SETTINGS --folder FOLDER --owner USER --user USER \
    --store-agent SOCKET --updater-agent SOCKET

Run as root before the daemon's first start. A second run changes only what is different; it keeps
all keys. In a folder that is not root's, nothing is done as root: its owner could have it write
elsewhere.
"""

from __future__ import annotations

import codecs
import os
import pwd
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cyclopts import App

from tune_app.cloud.overlay.settings import OverlaySettings, load_overlay_settings
from tune_app.cloud.overlay.setup import OverlaySetup
from tune_app.cloud.overlay.sshd_config import AUTHORIZED
from tune_app.cloud.overlay.worker_script import home_relative
from tune_app.cloud.secrets.ssh_keys import KeyPair
from tune_app.cloud.whole_files import write_file
from tune_app.command_line import run_command

MODULE = "tune_app.cloud.overlay.access"
STORE = "store"
"""Below the store's root: all that the store's user may write in."""

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main(
    settings: Path,
    *,
    folder: Path,
    owner: str,
    user: str,
    store_agent: Path,
    updater_agent: Path,
    home: Path | None = None,
) -> int:
    """Make keys and folders, as root.

    Parameters
    ----------
    settings
        A JSON file: see tune_app/cloud/overlay/settings.py.
    folder
        Folder of the head's keys and of the admitted ones.
    owner
        Who runs the daemon, which writes there.
    user
        Who runs Ray on the head, and reaches workers and the store.
    store_agent, updater_agent
        Where the agents listen that hold this user's keys; each in a folder of its own.
    home
        Of this user; default as the system has it.
    """
    grant_access(
        load_overlay_settings(settings),
        folder,
        owner=owner,
        user=user,
        store_agent=store_agent,
        updater_agent=updater_agent,
        home=home,
    )
    return 0


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    home: Path

    @classmethod
    def of(cls, name: str) -> Account:
        """Raises ValueError if there is none."""
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            raise ValueError(
                f"no user {name!r} on this machine; add one with useradd --system {name}"
            ) from None
        return cls(name=name, uid=found.pw_uid, gid=found.pw_gid, home=Path(found.pw_dir))

    @contextmanager
    def acting(self) -> Iterator[None]:
        """The whole process acts as this user. As root alone, and in one thread at a time."""
        groups = os.getgroups()
        os.initgroups(self.name, self.gid)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)


def grant_access(
    settings: OverlaySettings,
    folder: Path,
    *,
    owner: str,
    user: str,
    store_agent: Path,
    updater_agent: Path,
    home: Path | None = None,
) -> None:
    """Makes the overlay's folder, the store's, and the user's ways to the store and to workers.

    The user's home has to be there. In it lie, where workers have theirs: store_key, a link to the
    agent, and known_hosts for the store, updater_key.pub and known_workers for workers' own SSH
    servers. The private keys are the owner's: the user may have them used, and never reads them.

    Raises PermissionError if this is not root, ValueError for an unknown user.
    """
    if os.geteuid() != 0:
        raise PermissionError("only root makes other users' files; run it as root, say by sudo")
    _import_all()
    folder = folder.absolute()
    holder, own, store = Account.of(owner), Account.of(user), Account.of(settings.store_user)
    _folder(folder, holder, 0o755)
    with holder.acting():
        setup = OverlaySetup(settings, folder)
        # The users who log in read their file, whatever this process's mask is.
        (folder / AUTHORIZED).chmod(0o755)
        setup.let_head_in()
    for socket in (store_agent, updater_agent):
        _folder(socket.parent, own, 0o700)
    with own.acting():
        _users_files(setup, store_agent, home or own.home)
    root = Path(settings.store_root)
    _folder(root, Account.of("root"), 0o755)
    _folder(root / STORE, store, 0o700)
    with store.acting():
        _make_files_read_only(root / STORE)


def _import_all() -> None:
    """What is imported on first use: another user may not be able to read the program."""
    codecs.lookup("ascii")
    KeyPair.parse(KeyPair.new().file_text)


def _users_files(setup: OverlaySetup, store_agent: Path, home: Path) -> None:
    """Written as the user whose they are."""
    place = Path(home_relative(setup.settings.worker_folder).replace("~", str(home), 1))
    place.mkdir(exist_ok=True, mode=0o700)
    write_file(place / "known_hosts", setup.known_hosts, mode=0o644)
    write_file(place / "updater_key.pub", f"{setup.updater_public}\n", mode=0o644)
    # Earlier versions left the private half here.
    (place / "updater_key").unlink(missing_ok=True)
    # The daemon changes it with every worker.
    _link(place / "known_workers", setup.files.known_workers)
    _link(place / "store_key", store_agent)


def _link(path: Path, target: Path) -> None:
    if not path.is_symlink() or path.readlink() != target:
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def _folder(path: Path, owner: Account, mode: int) -> None:
    """A folder of this owner, below folders that are root's."""
    for above in reversed(path.parents):
        if not above.exists():
            above.mkdir()
            above.chmod(0o755)  # whatever this process's mask is
    path.mkdir(exist_ok=True)
    if path.is_symlink():
        raise ValueError(f"{path} is a link; move it away, or name the folder itself")
    os.chown(path, owner.uid, owner.gid)
    path.chmod(mode)


def _make_files_read_only(folder: Path) -> None:
    """Files of earlier versions, which workers' keys could write to."""
    for place, _, names in os.walk(folder):
        for path in (Path(place) / name for name in names):
            with suppress(FileNotFoundError):  # a sweep runs, and has removed it
                mode = path.lstat().st_mode
                if stat.S_ISREG(mode) and mode & 0o222:
                    path.chmod(stat.S_IMODE(mode) & ~0o222)


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
