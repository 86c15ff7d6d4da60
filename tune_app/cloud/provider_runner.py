"""How Ray's launcher and updaters reach a node: by SSH, where its host key is known."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from ray.autoscaler._private.command_runner import SSHCommandRunner


@dataclass(frozen=True, kw_only=True)
class Way:
    """To a node's SSH server."""

    port: int
    user: str
    key: str = ""
    """A file; empty for what ~/.ssh/config says."""
    known_hosts: str = ""
    """A file; empty for the user's own."""


class StrictRunner(SSHCommandRunner):
    """Ray's own accepts any host key; whoever answers first would be given the cluster."""

    def __init__(self, way: Way, **values: Any) -> None:
        super().__init__(**values)  # type: ignore[no-untyped-call]
        options = self.ssh_options.arg_dict
        options["StrictHostKeyChecking"] = "yes"
        options["Port"] = way.port
        del options["UserKnownHostsFile"]
        if way.known_hosts:
            options["UserKnownHostsFile"] = way.known_hosts
            options["GlobalKnownHostsFile"] = "/dev/null"
        self.ssh_user = way.user
        self.ssh_private_key = self.ssh_options.ssh_key = way.key
        self._way = way

    def run(self, *args: Any, ssh_options_override_ssh_key: str = "", **values: Any) -> Any:
        """As Ray's; another key would come with Ray's own options, which check no host key."""
        return super().run(*args, **values)

    def remote_shell_command_str(self) -> str:
        """The command of an interactive shell."""
        words = ["ssh", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"]
        if self._way.known_hosts:
            words += ["-o", f"UserKnownHostsFile={self._way.known_hosts}"]
        words += ["-p", str(self._way.port), *(["-i", self._way.key] if self._way.key else [])]
        target = self._get_ssh_target()  # type: ignore[no-untyped-call]
        return shlex.join([*words, f"{self._way.user}@{target}"]) + "\n"
