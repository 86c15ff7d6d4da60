"""Makes a machine the head of a cluster, from the user's machine. All of it may be repeated."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tune_app.cloud.cluster_yaml.records import HeadMachine, HeadRole, ProviderSettings
from tune_app.cloud.cluster_yaml.settings import check_config
from tune_app.cloud.head.bundle import SETTINGS, bundle, code_name
from tune_app.cloud.head.firewall import open_ports
from tune_app.cloud.head.firewall_trial import confirm
from tune_app.cloud.head.reachable import check_reachable
from tune_app.cloud.head.shell import HeadCommandError, HeadShell
from tune_app.cloud.head.units import SWEEP, check_store_root
from tune_app.cloud.head.unpacking import unpack_script
from tune_app.cloud.head_paths import CODE, ENVIRONMENT_SCRIPT, PROGRAM, PYTHON
from tune_app.cloud.open_market import key_of, market_kind
from tune_app.cloud.secrets.account_total import set_aside
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.settings_reader import to_json

SETUP_S = 3_600.0
"""Within which the head's environment is built; some gigabytes are fetched for it."""

_LOOK = """\
command -v systemctl >/dev/null || { echo "this machine has no systemd; use a Debian or Ubuntu \
server" >&2; exit 1; }
echo "%s $(systemctl is-active %s 2>/dev/null || true) $(readlink %s || true)"
"""
_SIGN = "stellux-head-runs"
"""Marks the line to read: the login's own scripts may print something too."""

_SSH_PORT = '--ssh-port "${SSH_CONNECTION##* }"'
"""The port of the SSH server that this very session came in by: it must not be closed."""


def bring_up(
    config: Mapping[str, Any],
    shell: HeadShell,
    *,
    say: Callable[[str], object],
    environment: Mapping[str, str] = os.environ,
    home: Path | None = None,
) -> None:
    """Everything on the head but Ray: users, the environment, the daemon with the account's key.

    Args:
        config: the cluster's YAML.
        say: called with each step.
        environment, home: places to look for the user's key.

    Raises ValueError for what the YAML or the key does not allow, HeadUnreachableError, and
    HeadCommandError with what the head said. Nothing is rented by then.
    """
    settings = check_config(config)
    key = key_of(settings.market, environment, home or Path.home())
    assert settings.rented is not None
    files = settings_files(settings, node_type=config["head_node_type"])
    set_aside(home or Path.home(), settings.cluster, settings.rented.cap_dollars)
    say(f"head {shell.address}: logging in as {shell.user}")
    say(head_price(settings.rented.head_dollars_per_hour))
    archive, name = bundle(files), code_name()
    look = _LOOK % (_SIGN, SWEEP, shlex.quote(str(CODE)))
    told = shell.run(shell.as_root("sh", "-c", shlex.quote(look)), timeout_s=60.0)
    check_no_other_sweep(told, name)
    say(f"sending the program, {len(archive) / 2**20:.1f} MiB, and its settings")
    # A second `ray up` at the same time sends to another folder.
    incoming = PROGRAM / f"incoming-{secrets.token_hex(6)}"
    script = unpack_script(name, incoming)
    shell.run(shell.as_root("sh", "-c", shlex.quote(script)), stdin=archive)
    say("setting up its environment; the first time this takes a few minutes")
    shell.show(shell.as_root("sh", str(ENVIRONMENT_SCRIPT)), timeout_s=SETUP_S)
    say(
        "setting up users, keys and services; its firewall then lets in SSH and the ports "
        "of provider.head.open_ports, nothing else"
    )
    _module(shell, "install", str(incoming / SETTINGS), "--login", shell.user, _SSH_PORT)
    confirm(shell)
    say("checking that workers can reach it")
    check_reachable(settings.overlay.head, settings.overlay.port)
    market = market_kind(settings.market.market).key.market
    say(f"checking the {market} key, and that it can rent something")
    say(_start(shell, key).strip())


def head_price(dollars_per_hour: float | None) -> str:
    """What is counted of the head's cost, in words."""
    if dollars_per_hour is None:
        return (
            "what the head costs is not counted: provider.head has no dollars_per_hour, or for a "
            "head at Hetzner no dollars_per_euro"
        )
    return (
        f"the head costs ${dollars_per_hour:.4f} an hour, counted for sweeps while they run; "
        "cap_dollars is for rented machines alone"
    )


def check_no_other_sweep(told: str, name: str) -> None:
    """Raises ValueError if a sweep runs on the head with another source than `name`. Pure.

    Args:
        told: what the head printed.
    """
    line = next((each for each in told.splitlines() if each.startswith(_SIGN)), _SIGN)
    words = [*line.split(), "", ""]
    running = words[1] in {"active", "activating", "deactivating", "reloading"}
    if running and words[2] != name:
        raise ValueError(
            "a sweep runs on the head with another source than this folder's, and would continue "
            "with this one: stop it first with python -m tune_app.cloud stop --cluster "
            "cluster.yaml, or run ray up from the source it began with"
        )


def _start(shell: HeadShell, key: ApiKey) -> str:
    return _module(shell, "start", stdin=key.reveal().encode("ascii") + b"\n")


def _module(shell: HeadShell, name: str, *arguments: str, stdin: bytes = b"") -> str:
    """Runs one of this package's commands on the head as root; returns what it prints.

    -P: it runs in the login's home, whose files must not shadow Python's modules.

    Args:
        arguments: as that machine's shell reads them.
    """
    words = ["env", f"PYTHONPATH={CODE}", str(PYTHON), "-P", "-m", f"tune_app.cloud.head.{name}"]
    try:
        return shell.run(shell.as_root(*words, *arguments), stdin=stdin)
    except HeadCommandError as error:
        raise HeadCommandError(f"the head {shell.address} says: {error}") from None


def settings_files(settings: ProviderSettings, *, node_type: str) -> dict[str, str]:
    """The texts of the head's settings, by file name.

    Args:
        node_type: the head's, in Ray's words.

    Raises ValueError for what the head could not carry out.
    """
    check_store_root(settings.overlay.store_root)
    also = settings.head.open_ports if isinstance(settings.head, HeadMachine) else ""
    open_ports(also)
    role = HeadRole(cluster=settings.cluster, node_type=node_type, open_ports=also)
    return {
        "daemon.json": to_json(settings.rented),
        "overlay.json": to_json(settings.overlay),
        "head.json": to_json(settings.ray),
        "cluster.json": to_json(role),
    }
