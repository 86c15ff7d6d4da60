"""A cluster's surroundings in the lab: a laptop with this project, an empty VPS, a Vast.ai.

All of it is real but for Vast.ai's HTTP API and systemd: SSH, sudo, users, the firewall, Ray.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.instances import PORT, Instances, vast_in
from tests.cluster.lab import Lab, why_not
from tests.cluster.machine import REPOSITORY, Machine, Process
from tests.cluster.namespaces import SYSTEM_PATH
from tests.cluster.network import HEAD
from tests.patience import PATIENCE_S
from tests.tune_app.cloud.vast.fake_vast import FakeVast, offer
from tune_app.cloud.daemon.protocol import Status, decode, read_status

_RAY_LOGS = "tmp/ray/session_2*/logs/[mg][oc][ns]*"
# One CPU of each worker is taken, so that it stays.
_HOLD = """\
import ray, sys, time
ray.init(address="auto")

@ray.remote(num_cpus=1)
class Held:
    pass

held = [Held.remote() for _ in range(int(sys.argv[1]))]
time.sleep(1000)
"""
ENVIRONMENT = REPOSITORY / ".venv"
KEY = "the-account-s-secret-key"
LOGIN = "admin"
"""Who the laptop's user is on the VPS: nobody special, who may use sudo."""

SHORT = {"poll": 2.0, "fresh": 1.0, "loading": 120.0, "lost": 20.0, "settle": 20.0, "backoff": 2.0}
"""The daemon's patience in a test that does not wait for the real one."""


def given_environment(machine: Machine) -> None:
    """As an image that brings its environment along: this checkout's."""
    link = "mkdir -p /opt/stellux/bin && ln -sfn {0} /opt/stellux/env && echo given >{0}/{1}"
    machine.run(["sh", "-c", link.format(ENVIRONMENT, "stellux-environment")])


@dataclass
class Stage:
    """The machines, and what the person at the laptop does."""

    lab: Lab
    laptop: Machine
    head: Machine
    vast: FakeVast
    instances: Instances
    config: dict[str, Any]
    times: dict[str, float] = field(default_factory=dict)
    """Seconds that each step took."""

    @property
    def project(self) -> Path:
        """On the laptop."""
        return REPOSITORY

    def write_config(self, config: dict[str, Any] | None = None) -> None:
        """Puts the cluster's YAML on the laptop, as /root/cluster.yaml."""
        text = yaml.safe_dump(config or self.config, sort_keys=False)
        self.laptop.path("/root/cluster.yaml").write_text(text, "utf-8")

    def at_laptop(
        self, *words: str, timeout: float = PATIENCE_S, check: bool = True, key: str | None = KEY
    ) -> subprocess.CompletedProcess[str]:
        """A command as the user types it, in their home."""
        return self.laptop.run(words, env=self._shell(key), timeout=timeout, check=check)

    def start_at_laptop(self, *words: str, log: Path) -> Process:
        return self.laptop.start(words, env=self._shell(KEY), log=log)

    def at_head(self, line: str, *, timeout: float = PATIENCE_S, check: bool = True) -> str:
        """A line in the shell of the head's Ray user."""
        done = self.head.run(["bash", "-lc", line], user="stellux", timeout=timeout, check=check)
        return done.stdout + done.stderr

    def reboot_head(self) -> None:
        """Power is lost and comes back; the machine starts what it starts at every boot."""
        self.head.power_off()
        self.head.boot()
        start_login_server(self.head)
        self.head.run(["systemctl", "boot"], timeout=PATIENCE_S)

    def status(self) -> Status:
        """What the daemon on the head says."""
        return read_status(self.asked(op="status"))

    def asked(self, **request: Any) -> Any:
        """What the daemon on the head answers to Ray's user."""
        relay = "python -m tune_app.cloud.daemon.ssh_relay /run/stellux/cloud.sock"
        line = f"{json.dumps(request)}\n"
        done = self.head.run(["bash", "-lc", relay], user="stellux", input=line, timeout=PATIENCE_S)
        return decode(done.stdout.encode(), 1 << 20)["result"]

    def ray_workers(self) -> list[Machine]:
        """Workers on which a raylet runs, in the order in which they were rented."""
        return [
            machine
            for _, machine in sorted(self.instances.machines.items())
            if any("raylet/raylet" in command for command in machine.processes().values())
        ]

    def hold_workers(self, count: int) -> Process:
        """A program of the user's that needs so many workers. Returns when Ray runs on them."""
        self.head.path("/home/stellux/hold.py").write_text(_HOLD, "utf-8")
        holding = self.head.start(["bash", "-lc", f"python hold.py {count}"], user="stellux")
        self.wait_for(lambda: len(self.ray_workers()) >= count, what=f"{count} workers")
        return holding

    def save_logs(self, folder: Path) -> None:
        """Copies what the head's programs have said, for whoever asks why a test failed."""
        folder.mkdir(parents=True, exist_ok=True)
        patterns = ("var/log/units/*", "home/stellux/.stellux/*.log", _RAY_LOGS)
        root = self.head.path("/")
        for path in [path for pattern in patterns for path in root.glob(pattern)]:
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        for path in self.lab.folder.glob("start-*.log"):
            shutil.copyfile(path, folder / path.name)

    @staticmethod
    def wait_for(
        true: Callable[[], object],
        *,
        within_s: float = PATIENCE_S,
        every_s: float = 1.0,
        what: str = "",
    ) -> None:
        """Waits for something to become true."""
        end = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < end, f"not within {within_s:g} s: {what}"
            time.sleep(every_s)

    def timed(self, name: str, action: Callable[[], Any]) -> Any:
        began = time.monotonic()
        try:
            return action()
        finally:
            self.times[name] = time.monotonic() - began

    @staticmethod
    def _shell(key: str | None) -> dict[str, str]:
        told = {
            "PATH": f"{ENVIRONMENT}/bin:{SYSTEM_PATH}",
            "PYTHONPATH": str(REPOSITORY),
            "RAY_UP_enable_autoscaler_v2": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "TERM": "dumb",
        }
        return told | ({} if key is None else {"VAST_API_KEY": key})


def lab_config(**vast: Any) -> dict[str, Any]:
    """The project's own cluster.yaml as a user of the lab edits it."""
    config: dict[str, Any] = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text("utf-8"))
    config = copy.deepcopy(config)
    config["max_workers"] = 2
    config["idle_timeout_minutes"] = 1
    config["auth"]["ssh_user"] = LOGIN
    config["provider"]["head"]["address"] = HEAD
    config["available_node_types"]["gpu-worker"]["resources"] = {"CPU": 1}
    config["available_node_types"]["gpu-worker"]["max_workers"] = 2
    section = config["provider"]["vast"]
    section |= {"base_url": f"http://127.0.0.1:{PORT}", "max_instances": 2, **vast}
    section["node_types"]["gpu-worker"]["rules"] |= {"min_cpus": 1}
    return config


@contextmanager
def stage(*, default_patience: bool = False, **fake: Any) -> Iterator[Stage]:
    """A laptop, an empty VPS and a Vast.ai, until the block ends.

    Args:
        default_patience: with the time-outs that users have.
        fake: of `FakeVast`.
    """
    with Lab() as lab, ExitStack() as stack:
        laptop, head = lab.add_laptop(), lab.add_head()
        _make_vps(head)
        _make_laptop(laptop, head)
        offers = [offer(number, cpu_cores_effective=1.0) for number in range(1, 20)]
        vast, instances = stack.enter_context(
            vast_in(
                lab,
                head,
                image=given_environment,
                key=KEY,
                **{"offers": offers, "load_s": 1.0, **fake},
            )
        )
        # Reached under one name from everywhere, as on the Internet.
        vast.serve_at(laptop.listening_socket("127.0.0.1", PORT))
        patience = {} if default_patience else {"patience": SHORT, "pace_margin": 0.0}
        made = Stage(
            lab=lab,
            laptop=laptop,
            head=head,
            vast=vast,
            instances=instances,
            config=lab_config(**patience),
        )
        if not default_patience:
            made.config["provider"]["looks_apart_s"] = 5.0
        made.write_config()
        yield made


def _make_vps(head: Machine) -> None:
    """What a provider hands over: an SSH server, a user with sudo; here with its environment."""
    head.run(["useradd", "-m", "-s", "/bin/bash", LOGIN])
    head.run(["usermod", "-p", "*", LOGIN])
    sudoers = head.path("/etc/sudoers.d/admin")
    sudoers.write_text(f"{LOGIN} ALL=(ALL) NOPASSWD: ALL\n", "utf-8")
    sudoers.chmod(0o440)
    # What this host's systemd would start is none of the machine's.
    head.run(["sh", "-c", "rm -rf /etc/systemd/system && mkdir /etc/systemd/system"])
    for name in ("systemctl", "journalctl"):
        copied = head.path("/usr/local/bin") / name
        copied.write_bytes((REPOSITORY / "tests/cluster/systemctl.py").read_bytes())
        copied.chmod(0o755)
    given_environment(head)
    start_login_server(head)


def start_login_server(head: Machine) -> None:
    """The VPS's own SSH server, which a boot starts."""
    head.run(["sh", "-c", "mkdir -p /run/sshd && ssh-keygen -A >/dev/null && exec /usr/sbin/sshd"])


def _make_laptop(laptop: Machine, head: Machine) -> None:
    """A user with an SSH key who has logged in on the VPS once."""
    laptop.run(
        ["sh", "-c", "mkdir -m 700 ~/.ssh && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519"]
    )
    public = laptop.path("/root/.ssh/id_ed25519.pub").read_text("utf-8")
    folder = f"/home/{LOGIN}/.ssh"
    head.run(["install", "-d", "-m", "700", "-o", LOGIN, folder])
    head.path(f"{folder}/authorized_keys").write_text(public, "utf-8")
    head.run(["chown", f"{LOGIN}:", f"{folder}/authorized_keys"])
    host_key = head.path("/etc/ssh/ssh_host_ed25519_key.pub").read_text("utf-8")
    laptop.path("/root/.ssh/known_hosts").write_text(f"{HEAD} {host_key}", "utf-8")


@contextmanager
def clean_stage(logs: Path, **settings: Any) -> Iterator[Stage]:
    """A stage that has to leave nothing behind; skips the test where there can be none.

    Args:
        logs: a folder for what the head's programs said.
        settings: of the stage.
    """
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with stage(**settings) as made:
        try:
            yield made
        finally:
            made.save_logs(logs)
        assert made.instances.failed == []
    assert made.lab.leftovers() == []
