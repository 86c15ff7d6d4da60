"""A machine: a disk, a network and processes of its own, over the host's files."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.cluster.namespaces import (
    SYSTEM_PATH,
    Keeper,
    child_of,
    init_command,
    listening_socket,
    pids,
    started_init,
    tool,
)
from tests.cluster.network import Attachment

REPOSITORY = Path(__file__).parents[2]
EMPTY = {"tmp": 0o1777, "var/tmp": 0o1777, "run": 0o755, "home": 0o755, "root": 0o711}
"""Folders of the host's that a machine does not see, and their modes in it."""

IN_MEMORY = ("tmp", "run")
"""Those that are new at each boot."""

DOCKER = (
    *("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("net_bind_service", "net_raw", "sys_chroot", "mknod", "audit_write", "setfcap"),
)
"""The capabilities that Docker leaves to root in a container."""

THE_HOST_S = ("sys_time", "sys_module", "sys_rawio")
"""The capabilities that no machine has: what they change is the host's."""

_BOOT = """\
cd "$1"
mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,rw proc/sys/net
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o mode=755,nosuid tmpfs dev
mkdir dev/pts dev/shm dev/old
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o "size=$3,mode=1777,nosuid,nodev" tmpfs dev/shm
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
hostname "$2"
shift 3
while [ "$1" != -- ]; do
    mkdir -p ".$2"
    mount -t overlay -o "$1" overlay ".$2"
    shift 2
done
shift
pivot_root . dev/old
cd /
umount -l /dev/old
rmdir /dev/old
rm -rf /run/mount  # umount writes there
exec "$@"
"""


class Process:
    """A process in a machine, seen from outside."""

    def __init__(self, entry: subprocess.Popen[bytes], pid: int | None) -> None:
        self._entry = entry
        self.pid = pid if pid is not None else entry.pid
        """The process's own, as the host counts; its group has the same."""

    def poll(self) -> int | None:
        return self._entry.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Its status, as subprocess gives it."""
        return self._entry.wait(timeout)

    def send_signal(self, number: int) -> None:
        """To the process alone; nothing happens if it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if number == signal.SIGCONT:  # it stopped with the process
                self._entry.send_signal(number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Machine:
    """A machine of a lab, which makes it and takes it away.

    Args:
        folder: for its disk.
        capabilities: all that root can have in it; where None, all that do not change the host.
        shared_memory: bytes of /dev/shm.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        keeper: Keeper,
        place: Attachment,
        *,
        capabilities: Sequence[str] | None = None,
        shared_memory: int = 1 << 30,
    ) -> None:
        self.name = name
        self.folder = folder
        self.place = place
        self.capabilities = capabilities
        self.shared_memory = shared_memory
        self._keeper = keeper
        self._entry: subprocess.Popen[bytes] | None = None
        self._init: int | None = None
        self._sockets: list[socket.socket] = []
        self._power = threading.RLock()
        self._make_disk()
        self.boot()

    @property
    def address(self) -> str:
        """Its own; who is behind NAT is known to others by `place.public`."""
        return self.place.address

    @property
    def is_on(self) -> bool:
        return self._entry is not None and self._entry.poll() is None

    # Power

    def boot(self) -> None:
        """Starts it: the same disk and network; /tmp, /run and /dev/shm are empty.

        But for the checkout and its Python, where they lie there on the host.
        """
        with self._power:
            assert not self.is_on, f"{self.name} is on"
            self._entry, self._init = started_init(
                [
                    tool("nsenter"),
                    f"--target={self._keeper.pid}",
                    "--mount",
                    "--pid",
                    f"--net={self._keeper.network(self.place.name)}",
                    "--",
                    *(tool("unshare"), "--mount", "--uts", "--ipc", "--pid", "--fork"),
                    *("--propagation", "private"),
                    *(tool("sh"), "-ec", _BOOT, "boot", str(self._root), self.name),
                    str(self.shared_memory),
                    *(
                        word
                        for folder, options in self._lent
                        if _is_in_memory(folder)
                        for word in (options, str(folder))
                    ),
                    "--",
                    *(tool("setpriv"), *self._bounds(), "--", *init_command()),
                ]
            )

    def power_off(self) -> None:
        """SIGKILL to everything in it, at once; returns when all of it is gone."""
        with self._power:
            if self._entry is None or self._init is None:
                return
            if self._entry.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(self._init, signal.SIGKILL)
            self._entry.wait(30)
            assert self._entry.stdin is not None
            with suppress(BrokenPipeError):
                self._entry.stdin.close()
            self._entry = self._init = None

    def discard(self) -> None:
        """Powers it off for ever: its disk is unmounted, its sockets closed."""
        self.power_off()
        self.close_sockets()
        self._keeper.run(f"umount -R -l {shlex.quote(str(self._root))}")

    # What it runs

    def run(
        self,
        command: Sequence[str],
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 60.0,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the user's home, and waits for it.

        Args:
            env: besides HOME, USER, LOGNAME, SHELL, PATH and LANG; nothing of the test's own.
            timeout: seconds; then its process group is killed.

        Raises CalledProcessError with what it said, and TimeoutExpired.
        """
        argv, environment = self._entered(command, user, env)
        entry = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            out, error = entry.communicate(input, timeout)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(_inner(entry) or entry.pid, signal.SIGKILL)
            entry.kill()
            entry.communicate()
            raise
        done = subprocess.CompletedProcess(list(command), entry.returncode, out, error)
        if check and done.returncode != 0:
            raise subprocess.CalledProcessError(
                done.returncode,
                shlex.join(command) + f" on {self.name}: {error or out}",
                out,
                error,
            )
        return done

    def start(
        self,
        command: Sequence[str],
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> Process:
        """Starts a command as `run` does, without input, and leaves it to itself.

        Args:
            log: a file of the host's, to which its output is added.
        """
        argv, environment = self._entered(command, user, env)
        output: IO[bytes] | int = subprocess.DEVNULL if log is None else log.open("ab")
        try:
            entry = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            if not isinstance(output, int):
                output.close()
        return Process(entry, _inner(entry))

    def processes(self) -> dict[int, str]:
        """Commands of what runs in it, but for its init, by pid as the host counts."""
        if self._init is None:
            return {}
        found = {}
        with suppress(OSError):
            own = Path(f"/proc/{self._init}/ns/pid").readlink()
            for pid in pids():
                with suppress(OSError):
                    if pid != self._init and Path(f"/proc/{pid}/ns/pid").readlink() == own:
                        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                        found[pid] = b" ".join(command).decode(errors="replace").strip()
        return found

    # What the test sees of it

    def path(self, path: str | Path) -> Path:
        """A file of the machine's as the test's process opens it, links followed.

        While it is off, what lies in memory (/tmp, /run, /dev/shm) is not there.
        """
        on = self._init is not None
        root = Path(f"/proc/{self._init}/root") if on else self._outer_root
        return root / _followed(root, Path(path)).relative_to("/")

    def listening_socket(self, ip: str, port: int) -> socket.socket:
        """A listening TCP socket in the machine's network, for a server in the test's process.

        It is there while the machine exists, even while it is off.
        """
        made = listening_socket(self._keeper.network(self.place.name), ip, port)
        self._sockets.append(made)
        return made

    def close_sockets(self) -> None:
        """Those of `listening_socket`, which would keep its network for ever."""
        for listening in self._sockets:
            with suppress(OSError):  # closed before, by the server that it was for
                listening.shutdown(socket.SHUT_RDWR)  # or who waits for a connection goes on
            listening.close()

    # Its make-up

    @property
    def _root(self) -> Path:
        """Where its disk is mounted, in the lab's world."""
        return self.folder / "root"

    @property
    def _outer_root(self) -> Path:
        return self._keeper.root / self._root.relative_to("/")

    def _make_disk(self) -> None:
        for folder in (self.folder, self._root):
            folder.mkdir(mode=0o755)
        options = self._overlay("", Path("/"))
        upper = self.folder / "upper"
        (upper / "var").mkdir()
        for name, mode in EMPTY.items():
            (upper / name).mkdir()
            (upper / name).chmod(mode)
            os.setxattr(upper / name, "trusted.overlay.opaque", b"y")
        lines = [f"mount -t overlay -o {shlex.quote(options)},volatile overlay {self._root}"]
        self._lent = [
            (folder, self._overlay(f"-{number}", folder)) for number, folder in enumerate(_lent())
        ]
        for folder, options in self._lent:
            if not _is_in_memory(folder):
                target = shlex.quote(str(self._root / folder.relative_to("/")))
                lines.append(f"mkdir -p {target}")
                lines.append(f"mount -t overlay -o {shlex.quote(options)} overlay {target}")
        self._keeper.run("\n".join(lines))
        files = {
            "hostname": f"{self.name}\n",
            "hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n",
            # Nobody answers there, which is known at once; elsewhere each question takes seconds.
            "resolv.conf": "nameserver 127.0.0.1\n",
        }
        for name, text in files.items():
            file = self._outer_root / "etc" / name
            file.unlink(missing_ok=True)
            file.write_text(text, "utf-8")

    def _overlay(self, suffix: str, lower: Path) -> str:
        """Options of a mount that shows a folder of the host's and keeps what is changed in it."""
        upper, work = self.folder / f"upper{suffix}", self.folder / f"work{suffix}"
        for folder in (upper, work):
            folder.mkdir()
            folder.chmod(0o755)
        return f"lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=on"

    def _bounds(self) -> list[str]:
        if self.capabilities is None:
            return ["--bounding-set=" + ",".join(f"-{name}" for name in THE_HOST_S)]
        kept = "".join(f",+{name}" for name in self.capabilities)
        return [f"--bounding-set=-all{kept}", "--inh-caps=-all"]

    def _entered(
        self, command: Sequence[str], user: str, env: Mapping[str, str] | None
    ) -> tuple[list[str], dict[str, str]]:
        if not self.is_on:
            raise ConnectionError(f"{self.name} is off")
        group, home, shell = self._account(user)
        return [
            tool("nsenter"),
            f"--target={self._init}",
            *("--mount", "--uts", "--ipc", "--net", "--pid", "--"),
            *(tool("setpriv"), *self._bounds()),
            *(f"--reuid={user}", f"--regid={group}", "--init-groups", "--"),
            # A session of its own: the one it would have is the test's, which it cannot see.
            *("env", "-C", home, "setsid", *command),
        ], {
            "HOME": home,
            "USER": user,
            "LOGNAME": user,
            "SHELL": shell,
            "PATH": SYSTEM_PATH,
            "LANG": "C.UTF-8",
            **(env or {}),
        }

    def _account(self, user: str) -> tuple[str, str, str]:
        for line in self.path("/etc/passwd").read_text("utf-8").splitlines():
            name, _, _, group, _, home, shell = line.split(":")
            if name == user:
                return group, home if self.path(home).is_dir() else "/", shell
        raise ValueError(f"no user {user!r} on {self.name}; useradd makes one")


def _inner(entry: subprocess.Popen[bytes] | subprocess.Popen[str]) -> int | None:
    """The pid of the command that an nsenter runs; None if it has ended already."""
    while entry.poll() is None:
        pid = child_of(entry.pid)
        if pid is not None:
            return pid
        time.sleep(0.001)
    return None


def _followed(root: Path, path: Path) -> Path:
    """The path with links followed within the root."""
    assert path.is_absolute(), path
    done, rest, links = Path("/"), list(path.parts[1:]), 0
    while rest:
        part = rest.pop(0)
        if part == "..":
            done = done.parent
            continue
        inside = root / (done / part).relative_to("/")
        if inside.is_symlink():
            links += 1
            if links > 40:
                raise OSError(f"too many links: {path}")
            target = inside.readlink()
            done = Path("/") if target.is_absolute() else done
            rest = [name for name in target.parts if name != "/"] + rest
        else:
            done = done / part
    return done


def _lent() -> list[Path]:
    """What a machine needs of the host that its disk does not show: Python and the checkout."""
    needed = [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), REPOSITORY.resolve()]
    device = Path("/").stat().st_dev
    lent: list[Path] = []
    for folder in sorted(dict.fromkeys(needed)):  # a folder before what is in it
        hidden = any(folder.is_relative_to(Path("/") / name) for name in EMPTY)
        elsewhere = folder.stat().st_dev != device
        shown = any(
            folder.is_relative_to(other) and folder.stat().st_dev == other.stat().st_dev
            for other in lent
        )
        if (hidden or elsewhere) and not shown:
            lent.append(folder)
    return lent


def _is_in_memory(folder: Path) -> bool:
    return any(folder.is_relative_to(Path("/") / name) for name in IN_MEMORY)
