"""How Ray's launcher reaches the head: by SSH, to a machine whose host key is known."""

from __future__ import annotations

from typing import Any

from ray.autoscaler._private.command_runner import SSHCommandRunner

from tune_app.cloud.provider_settings import HeadMachine


class HeadRunner(SSHCommandRunner):
    """Ray's own accepts any host key; whoever answers first would be given the cluster."""

    def __init__(self, head: HeadMachine, **values: Any) -> None:
        super().__init__(**values)  # type: ignore[no-untyped-call]
        options = self.ssh_options.arg_dict
        options["StrictHostKeyChecking"] = "yes"
        # The user's own known_hosts, and ~/.ssh/config.
        del options["UserKnownHostsFile"]
        options["Port"] = head.port
        self._port = head.port
        if head.key:
            self.ssh_private_key = self.ssh_options.ssh_key = head.key

    def run(self, *args: Any, ssh_options_override_ssh_key: str = "", **values: Any) -> Any:
        """As Ray's; another key would come with Ray's own options, which check no host key."""
        return super().run(*args, **values)

    def remote_shell_command_str(self) -> str:
        """The command of an interactive shell."""
        key = f"-i {self.ssh_private_key} " if self.ssh_private_key else ""
        options = f"-o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -p {self._port}"
        target = self._get_ssh_target()  # type: ignore[no-untyped-call]
        return f"ssh {options} {key}{self.ssh_user}@{target}\n"
