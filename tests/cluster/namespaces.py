"""What Linux gives to make machines of: namespaces, and the process that holds them open."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLONE_NEWNET = 0x40000000

INIT = """\
import os, select, signal
wake, waker = os.pipe()
os.set_blocking(waker, False)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, lambda *_: None)
signal.set_wakeup_fd(waker)
os.write(1, b"up\\n")
ended = False
while not ended:
    ready = select.select([0, wake], [], [])[0]
    if wake in ready:
        os.read(wake, 512)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    ended = 0 in ready and not os.read(0, 1)
"""
"""Process 1 of a PID namespace: says "up", reaps, and ends, and with it all others of the
namespace, when its standard input does: when whoever started it is gone."""


def tool(name: str) -> str:
    """Its path. Raises FileNotFoundError."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise FileNotFoundError(f"no {name} on this machine")
    return found


def init_command() -> list[str]:
    """What runs `INIT`, on the interpreter beneath any virtual environment."""
    return [str(Path(sys.executable).resolve()), "-I", "-S", "-c", INIT]


def started_at(pid: int) -> int | None:
    """Ticks between the system's start and the process's; with the pid, its name for ever."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def pids() -> list[int]:
    """Of all processes that can be seen."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def child_of(parent: int) -> int | None:
    """A process's first child."""
    for pid in sorted(pids()):
        with suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                return pid
    return None


def users_of(folder: Path) -> list[int]:
    """Processes in whose mount namespace something of the folder is mounted."""
    found = []
    for pid in pids():
        with suppress(OSError):
            if str(folder) in Path(f"/proc/{pid}/mountinfo").read_text("utf-8"):
                found.append(pid)
    return found


def started_init(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a command that ends up as `INIT`.

    Returns: its outermost process, whose standard input holds the namespace open, and the pid of
        the init, both as seen from here.
    Raises RuntimeError, with what it said, if it does not come up.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is the test's; the lab ends in order
    )
    assert process.stdout is not None and process.stderr is not None
    if process.stdout.readline() != b"up\n":
        process.kill()
        said = process.stderr.read().decode(errors="replace").strip()
        process.communicate()
        raise RuntimeError(f"a namespace's init did not start: {said}")
    pid = process.pid
    while (inner := child_of(pid)) is not None:  # of nsenter, of unshare; the init has none yet
        pid = inner
    process.stdout.close()
    process.stderr.close()
    return process, pid


class Keeper:
    """The process whose namespaces are the lab's world: all mounts, networks and machines.

    When it ends, the kernel ends every process in it, and with the last one its mounts and
    networks. It ends with the process that made it, however that ends.

    Args:
        folder: the lab's own, where machines' disks lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [tool("unshare"), "--mount", "--net", "--pid", "--propagation", "private"]
        self._process, self.pid = started_init([*command, "--fork", *init_command()])
        # Names of networks, where nobody else sees them.
        self.run("mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up")

    @property
    def root(self) -> Path:
        """The file system as the lab's world sees it."""
        return Path(f"/proc/{self.pid}/root")

    def network(self, name: str) -> Path:
        """A named network namespace."""
        return self.root / "run/netns" / name

    def run(self, script: str) -> str:
        """Runs a shell script in the lab's world, as root; its output. Raises RuntimeError."""
        done = subprocess.run(
            [*self.entered("--mount", "--net"), tool("sh"), "-ec", script],
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{done.stderr.strip()}\n(of: {script})")
        return done.stdout

    def entered(self, *namespaces: str) -> list[str]:
        """A command's beginning: it runs in these of the keeper's namespaces."""
        return [tool("nsenter"), f"--target={self.pid}", *namespaces, "--"]

    def close(self) -> None:
        """Ends everything in it; returns when it is gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.kill(self.pid, 9)
            self._process.wait(10)


def listening_socket(network: Path, ip: str, port: int) -> socket.socket:
    """A listening TCP socket of another network namespace, usable from here."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            with network.open("rb") as namespace:
                # Only this thread moves over, and it ends below.
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns: {network}")
            made.append(socket.create_server((ip, port), backlog=128))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]
