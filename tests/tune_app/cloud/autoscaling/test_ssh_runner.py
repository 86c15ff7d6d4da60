"""What Ray's commands tell OpenSSH on the user's machine."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from tune_app.cloud.autoscaling.ssh_runner import StrictRunner, way_to_head
from tune_app.cloud.cluster_yaml.records import HeadMachine


class Ran:
    """Takes commands, and runs none."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = []

    def check_call(self, command: list[str], *_: Any, **__: Any) -> None:
        self.lines.append(command)

    def check_output(self, command: list[str], *_: Any, **__: Any) -> bytes:
        self.lines.append(command)
        return b""


class Provider:
    @staticmethod
    def external_ip(_: str) -> str:
        return "head.example"

    internal_ip = external_ip


def runner(key: str, ran: Ran) -> StrictRunner:
    return StrictRunner(
        way_to_head(HeadMachine(address="head.example", key=key)),
        log_prefix="",
        node_id="head",
        provider=Provider(),
        auth_config={"ssh_user": "me"},
        cluster_name="stellux",
        process_runner=ran,
        use_internal_ip=False,
    )


def commands(key: str) -> dict[str, str]:
    """Every kind of command that Ray runs on a head, and a shell's."""
    ran = Ran()
    made = runner(key, ran)
    made.run("true", with_output=True)
    made.run_rsync_up("a", "b")
    made.run_rsync_down("a", "b")  # type: ignore[no-untyped-call]
    once, up, down = map(shlex.join, ran.lines)
    return {"once": once, "up": up, "down": down, "shell": made.remote_shell_command_str()}


@pytest.mark.parametrize("key", ["", "/keys/mine"])
def test_no_agent_and_no_screen_goes_along(key: str) -> None:
    for name, line in commands(key).items():
        assert "ForwardAgent=no" in line, name
        assert "ForwardX11=no" in line, name
        assert "StrictHostKeyChecking=yes" in line, name


def test_keys_that_only_an_agent_has_are_tried_where_no_file_is_named() -> None:
    for name, line in commands("").items():
        assert "IdentitiesOnly" not in line, name
    for name, line in commands("/keys/mine").items():
        assert "IdentitiesOnly=yes" in line, name
        assert "-i /keys/mine" in line, name
