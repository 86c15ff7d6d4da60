"""Copies a head's results here: journals, result files and checkpoints, over SSH.

Run again, it continues where it was cut off. The copy is compared with the head once more, so that
the head may be deleted afterwards.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_app.cloud.head.shell import HeadShell
from tune_app.cloud.head_paths import RAY_HOME

HEAD_FILE = ".stellux-head"
"""In the results' folder: whose they are. Another head's would be written over."""
PARTIAL = ".stellux-partial"
"""Folder of files that are not complete yet."""
SILENCE_S = 120
_LAST_LINES = 3


class FetchError(OSError):
    """Not everything of the head's is here. What is here stays, and is not fetched again."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What is in the results' folder now."""

    folder: Path
    files: int
    bytes: int

    def told(self) -> str:
        """In a line."""
        return f"{self.files} files, {self.bytes / 2**20:.1f} MiB, are in {self.folder.absolute()}"


def results_folder(cluster: str) -> Path:
    """Where a cluster's results go to, unless it is said."""
    return Path(f"stellux-{cluster}-results")


def sources(store_root: str) -> dict[str, str]:
    """The head's folders, by the name that each has here. Pure.

    Args:
        store_root: of the overlay's settings.
    """
    return {"runs": f"{RAY_HOME}/runs", "store": f"{store_root}/store"}


_READ = """\
cd "$0" && [ "$(pwd -P)" = "$0" ] || { echo "$0 is, or is behind, a symbolic link" >&2; exit 1; }
exec runuser -u "$(stat -c %U .)" -- rsync "$@"
"""
"""Code in the cluster may have put links there. So a folder is read where it is, not where a link
leads, and as its owner: by no link in it does root read anything."""


_STALE = (
    "--delete",
    *(f"--filter=R *.sqlite3-{kind}" for kind in ("wal", "shm")),
    "--filter=P *",
)
"""Of what the head no longer has, only SQLite's companions of an older state of a file go: with a
newer one beside them, they would spoil it."""


def fetch(
    shell: HeadShell,
    folders: Mapping[str, str],
    target: Path,
    *,
    say: Callable[[str], object],
) -> Fetched:
    """Copies folders of the head into `target`, and sees that nothing is left there.

    Args:
        shell: of a user who may become root, since only root may read the checkpoints.
        folders: as `sources` gives them; one that is not there was never needed.
        say: called with each folder.

    Raises FetchError, HeadUnreachableError and HeadCommandError. Nothing on the head changes.
    """
    present = _present(shell, folders)
    _claim(target, _identity(shell))
    for name in present:
        say(f"fetching {folders[name]} of the head {shell.address} to {target / name}")
        _rsync(shell, folders[name], target / name)
    for name in present:
        left = _rsync(shell, folders[name], target / name, only_say=True)
        if left:
            raise FetchError(
                f"{len(left)} files of {folders[name]} changed while they were fetched, the first "
                f"is {left[0]}: stop what runs there, and fetch again"
            )
    sizes = [path.lstat().st_size for name in present for path in _files(target / name)]
    return Fetched(folder=target, files=len(sizes), bytes=sum(sizes))


def _present(shell: HeadShell, folders: Mapping[str, str]) -> list[str]:
    """Names of the folders that the head has."""
    tests = "; ".join(
        f"if [ -d {shlex.quote(path)} ]; then echo {shlex.quote(name)}; fi"
        for name, path in folders.items()
    )
    # The shell at the other end parses the words again.
    told = shell.run(shell.as_root("sh", "-c", shlex.quote(tests)), timeout_s=60.0)
    return [name for name in folders if name in told.split()]


def _identity(shell: HeadShell) -> str:
    """What no other machine says of itself."""
    return shell.run(["cat", "/etc/machine-id"], timeout_s=60.0).strip()


def _claim(target: Path, identity: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    path = target / HEAD_FILE
    if not path.exists():
        path.write_text(f"{identity}\n", "utf-8")
    elif path.read_text("utf-8").strip() != identity:
        raise FetchError(
            f"{target} has the results of another head, which this one's could write over; move it "
            "away and try again"
        )


def _rsync(shell: HeadShell, source: str, target: Path, *, only_say: bool = False) -> list[str]:
    """Copies a folder. Returns what was copied or, with `only_say`, what would be."""
    *way, person, _ = shell.command()
    host = person.partition("@")[2]
    place = f"{shell.user}@[{host}]" if ":" in host else person
    command = ["rsync", "--recursive", "--links", "--times", "--safe-links"]
    command += ["--out-format=%i %n", f"--partial-dir={PARTIAL}", f"--timeout={SILENCE_S}"]
    reader = shell.as_root("sh", "-c", shlex.quote(_READ), shlex.quote(source))
    command += [f"--rsh={shlex.join(way)}", f"--rsync-path={' '.join(reader)}"]
    command += [*_STALE, *(["--dry-run"] if only_say else [])]
    try:
        done = subprocess.run(
            [*command, "--", f"{place}:./", f"{target}/"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise FetchError("this machine has no rsync; install it, and fetch again") from None
    if done.returncode != 0:
        raise FetchError(
            f"{source} was not fetched completely: "
            f"{_why(done.stderr) or f'rsync ended with exit code {done.returncode}'}"
        )
    return copied(done.stdout.splitlines())


def copied(lines: Sequence[str]) -> list[str]:
    """Of rsync's itemized lines, the names of files and links that it sent. Pure."""
    pairs = [line.partition(" ") for line in lines]
    return [name for what, _, name in pairs if what[:1] in {">", "c"} and what[1:2] in {"f", "L"}]


def _why(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return "; ".join(lines[-_LAST_LINES:])


def _files(folder: Path) -> list[Path]:
    return [Path(way) / name for way, _, names in os.walk(folder) for name in names]
