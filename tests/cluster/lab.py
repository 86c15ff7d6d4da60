"""The lab: a laptop, a head and workers behind NAT as machines on one Linux host.

Each machine has its own files over the host's (overlayfs), its own network, processes, hostname and
/tmp; a worker has no more rights than a container. Nothing of it reaches the real internet or
changes the host, and it ends with the process that made it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from typing_extensions import Self

from tests.cluster.machine import DOCKER, Machine
from tests.cluster.namespaces import SYSTEM_PATH, Keeper, started_at, tool, users_of
from tests.cluster.network import HEAD, LAPTOP, Network

PREFIX = "stellux-lab-"
TOOLS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "rsync": "rsync",
    "sudo": "sudo",
    "curl": "curl",
    "useradd": "passwd",
}
"""Commands that the lab and its tests call, and Debian's packages that have them."""

_TRIAL = """\
mount -t tmpfs tmpfs /run
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work,redirect_dir=on,volatile" \
    overlay "$1/root"
ip link add internet type bridge
ip link add port type veth peer name eth0
ip addr add 2001:db8::1/64 dev port nodad
nft add table ip a
nft 'add chain ip a b { type nat hook postrouting priority 100; }'
nft add rule ip a b masquerade
nft add table bridge a
nft 'add chain bridge a b { type filter hook forward priority 0; }'
echo 1 >/proc/sys/net/ipv4/ip_forward
"""


def why_not() -> str | None:
    """Why there can be no lab on this machine; None where there can. Takes some 30 ms."""
    if sys.platform != "linux":
        return f"machines are made of Linux's namespaces; this is {sys.platform}"
    if os.geteuid() != 0:
        return "machines are made by root alone"
    missing = [name for name in TOOLS if shutil.which(name, path=SYSTEM_PATH) is None]
    if missing:
        packages = sorted({TOOLS[name] for name in missing})
        return f"no {', '.join(missing)}; apt-get install {' '.join(packages)}"
    alone = ("--mount", "--net", "--pid", "--fork", "--propagation", "private")
    with tempfile.TemporaryDirectory(prefix="stellux-trial-") as folder:
        for name in ("upper", "work", "root"):
            Path(folder, name).mkdir()
        tried = subprocess.run(
            [tool("unshare"), *alone, tool("sh"), "-ec", _TRIAL, "trial", folder],
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if tried.returncode != 0:
        return f"this kernel or container lets no machine be made: {tried.stderr.strip()}"
    return None


class Lab:
    """A lab; a context manager. Threads may add and remove machines at the same time."""

    def __init__(self) -> None:
        remove_dead_labs()
        pid = os.getpid()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{pid}-{started_at(pid)}-"))
        self.folder.chmod(0o711)
        self._lock = threading.Lock()
        self._machines: dict[str, Machine] = {}
        self._made = 0
        try:
            self.keeper = Keeper(self.folder)
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        try:
            self.network = Network(self.keeper)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def machines(self) -> list[Machine]:
        """Those that exist, on or off."""
        with self._lock:
            return list(self._machines.values())

    def add_laptop(self, name: str = "laptop") -> Machine:
        """The user's, at 198.51.100.2."""
        return self.add(name, LAPTOP)

    def add_head(self, name: str = "head", *, shared_memory: int = 1 << 30) -> Machine:
        """A server at 198.51.100.10, whose root may do what the root of a rented one may."""
        return self.add(name, HEAD, shared_memory=shared_memory)

    def add_worker(self, name: str, *, shared_memory: int = 1 << 30) -> Machine:
        """A container behind a router, with Docker's capabilities."""
        return self.add(name, None, capabilities=DOCKER, shared_memory=shared_memory)

    def add(
        self,
        name: str,
        address: str | None,
        *,
        capabilities: Sequence[str] | None = None,
        shared_memory: int = 1 << 30,
    ) -> Machine:
        """A machine that runs.

        Args:
            address: on the lab's internet; behind a router of its own where None.
        """
        with self._lock:
            assert all(machine.name != name for machine in self._machines.values()), name
            self._made += 1
            folder = self.folder / f"{self._made}-{name}"
        place = self.network.join(name, address) if address else self.network.join_behind_nat(name)
        machine = Machine(
            name,
            folder,
            self.keeper,
            place,
            capabilities=capabilities,
            shared_memory=shared_memory,
        )
        with self._lock:
            self._machines[name] = machine
        return machine

    def remove(self, machine: Machine) -> None:
        """Powers it off; its disk and its line are gone."""
        machine.discard()
        self.network.leave(machine.place)
        with self._lock:
            del self._machines[machine.name]
        shutil.rmtree(machine.folder)

    def drop_packets(self, machine: Machine, dropped: bool) -> None:
        """All packets between it and the world vanish silently, or no longer; links stay up."""
        self.network.drop_packets(machine.place, dropped)

    def close(self) -> None:
        """Ends all machines and removes what there was of them."""
        for machine in self.machines:
            machine.close_sockets()
        self.keeper.close()
        for machine in self.machines:
            machine.power_off()
        shutil.rmtree(self.folder, ignore_errors=True)

    def leftovers(self) -> list[str]:
        """What is left of it after `close`: nothing, or it says what."""
        left = [f"process {pid}" for pid in users_of(self.folder)]
        mounts = Path("/proc/self/mountinfo").read_text("utf-8")
        left += [f"mount {line}" for line in mounts.splitlines() if str(self.folder) in line]
        return left + ([f"folder {self.folder}"] if self.folder.exists() else [])


def remove_dead_labs() -> None:
    """Removes what labs have left whose process was killed; their machines ended with it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid, started = folder.name.removeprefix(PREFIX).split("-")[:2]
        if started_at(int(pid)) == int(started):
            continue
        end = time.monotonic() + 10
        while (users := users_of(folder)) and time.monotonic() < end:
            for user in users:
                with suppress(ProcessLookupError):
                    os.kill(user, 9)
            time.sleep(0.01)
        shutil.rmtree(folder, ignore_errors=True)
