"""How Ray's launcher and updaters reach a node: by SSH, where its host key is known."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.autoscaler._private.command_runner import SSHCommandRunner

from tune_app.cloud.cluster_yaml.records import HeadMachine, WorkerAccess
from tune_app.cloud.head.shell import NOTHING_FORWARDED
from tune_app.cloud.head_paths import RAY_USER
from tune_app.cloud.overlay.addresses import Ports
from tune_app.cloud.renting.workers import Node


@dataclass(frozen=True, kw_only=True)
class Way:
    """To a node's SSH server."""

    port: int
    user: str
    key: str = ""
    """A file; empty for what ~/.ssh/config says."""
    agent: str = ""
    """The socket of the agent that holds the key; empty for the one of the environment."""
    known_hosts: str = ""
    """A file; empty for the user's own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of each command."""
    stops_ray: str = ""
    """What stops Ray there, where `ray stop` does not."""
    needs_rsync: bool = False
    """Whether rsync may have to be installed there first."""


STOP_RAY = "sudo -n systemctl stop stellux-sweep; sudo -n systemctl stop stellux-head"
"""In the place of `ray stop`: systemd would start Ray again."""


def way_to_head(head: HeadMachine) -> Way:
    """As Ray's user, from the machine of `ray up`."""
    return Way(
        port=head.port,
        user=RAY_USER,
        key=head.key,
        known_hosts=head.known_hosts,
        stops_ray=STOP_RAY,
    )


def way_to_worker(access: WorkerAccess, node: Node, cluster: str) -> Way:
    """From the head, to the end of the worker's link."""
    return Way(
        port=Ports(node.k).sshd,
        user=access.user,
        key=access.key,
        agent=access.agent,
        known_hosts=access.known_hosts,
        environment={
            "STELLUX_CLUSTER": cluster,
            "STELLUX_K": str(node.k),
            "STELLUX_CPUS": str(max(1, int(node.cpus))),
        },
        needs_rsync=True,
    )


INSTALL_RSYNC = (
    "command -v rsync >/dev/null || { apt-get -qq update && "
    "DEBIAN_FRONTEND=noninteractive apt-get -qq install -y rsync >/dev/null; }"
)
SILENCE = 40
"""Questions, 5 s apart, that the other end may leave open: a link may be silent for 180 s."""


class StrictRunner(SSHCommandRunner):
    """Ray's own runner accepts any host key: any machine that answers would get the cluster."""

    def __init__(self, way: Way, **values: Any) -> None:
        super().__init__(**values)  # type: ignore[no-untyped-call]
        options = self.ssh_options.arg_dict
        options["StrictHostKeyChecking"] = "yes"
        options["Port"] = way.port
        options["ServerAliveCountMax"] = SILENCE
        options |= NOTHING_FORWARDED
        del options["UserKnownHostsFile"]
        if not way.key:
            # It would keep out the keys that only an agent has.
            del options["IdentitiesOnly"]
        if way.agent:
            options["IdentityAgent"] = way.agent
        if way.known_hosts:
            options["UserKnownHostsFile"] = way.known_hosts
            options["GlobalKnownHostsFile"] = "/dev/null"
        self.ssh_user = way.user
        self.ssh_private_key = self.ssh_options.ssh_key = way.key
        self._way = way

    def run(self, *args: Any, ssh_options_override_ssh_key: str = "", **values: Any) -> Any:
        """As Ray's; another key would come with Ray's own options, which check no host key."""
        command, *rest = args or (values.pop("cmd", None),)
        if command == "ray stop" and self._way.stops_ray:
            command = self._way.stops_ray
        if command and self._way.environment:
            # Ray's own way would put each value between quotes.
            told = " ".join(f"{name}={shlex.quote(v)}" for name, v in self._way.environment.items())
            command = f"export {told}; {command}"
        return super().run(command, *rest, **values)

    def run_rsync_up(self, source: str, target: str, options: Any = None) -> None:
        """As Ray's, to a machine that may not have rsync yet."""
        if self._way.needs_rsync:
            self.run(INSTALL_RSYNC)
        super().run_rsync_up(source, target, options)  # type: ignore[no-untyped-call]

    def remote_shell_command_str(self) -> str:
        """The command of an interactive shell."""
        told = NOTHING_FORWARDED | ({"IdentitiesOnly": "yes"} if self._way.key else {})
        told |= {"IdentityAgent": self._way.agent} if self._way.agent else {}
        words = ["ssh"]
        for name, value in (told | {"StrictHostKeyChecking": "yes"}).items():
            words += ["-o", f"{name}={value}"]
        if self._way.known_hosts:
            words += ["-o", f"UserKnownHostsFile={self._way.known_hosts}"]
        words += ["-p", str(self._way.port), *(["-i", self._way.key] if self._way.key else [])]
        target = self._get_ssh_target()  # type: ignore[no-untyped-call]
        return shlex.join([*words, f"{self._way.user}@{target}"]) + "\n"
