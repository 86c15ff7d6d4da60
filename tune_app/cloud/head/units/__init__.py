"""What systemd runs on the head, and what Ray's user may ask it for. Pure."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from tune_app.cloud import head_paths
from tune_app.cloud.cluster_yaml.settings import head_id
from tune_app.cloud.head.services import JOURNAL
from tune_app.cloud.market.labels import checked_name

FIREWALL = "stellux-firewall.service"
SSHD = "stellux-sshd.service"
KEEPER = "stellux-keeper.service"
STORE_AGENT = "stellux-store-agent.service"
UPDATER_AGENT = "stellux-updater-agent.service"
CLOUD = "stellux-cloud.service"
HEAD = "stellux-head.service"
SWEEP = "stellux-sweep.service"

UNITS = (FIREWALL, SSHD, KEEPER, STORE_AGENT, UPDATER_AGENT, CLOUD, HEAD, SWEEP)
"""In the order in which a machine boots them."""
ENABLED = UNITS[:-1]
"""The units that always run; starting a sweep enables the last one."""

_CLOSED = ("/home", "/root", "/run/user", "/usr", "/boot", "/efi", "/etc")
"""By ProtectHome=yes and ProtectSystem=full."""

# Ray looks this long for a node that it asked for before it asks again, under the same request.
_REQUEST_S = 240


def unit_text(name: str) -> str:
    """The unit's file. Raises ValueError for a name that is none of `UNITS`."""
    if name not in UNITS:
        raise ValueError(f"unknown unit {name!r}; expected one of {', '.join(UNITS)}")
    return (Path(__file__).parent / name).read_text("utf-8")


def check_store_root(folder: str) -> None:
    """Raises ValueError for a store that its SSH server's unit may not write to."""
    for closed in _CLOSED:
        if PurePosixPath(closed) in (path := PurePosixPath(folder), *path.parents):
            raise ValueError(
                f"provider.overlay.store_root is {folder!r}; it must not be in {closed}, which the "
                "store's SSH server may not write to: name a folder below /srv, /var or a disk's"
            )


def head_environment(cluster: str, node_type: str) -> str:
    """The file of variables that make Ray's head a node which the autoscaler knows.

    Args:
        cluster, node_type: names from the cluster's YAML.

    Raises ValueError for a name that no cluster or type can have.
    """
    checked_name("cluster's name", cluster)
    checked_name("node type's name", node_type)
    variables = {
        "RAY_CLOUD_INSTANCE_ID": head_id(cluster),
        "RAY_NODE_TYPE_NAME": node_type,
        "RAY_enable_autoscaler_v2": "1",
        "RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S": str(_REQUEST_S),
    }
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def sudoers() -> str:
    """What Ray's user may do as root: start and stop its own units, read Ray's log, nothing else.

    Every command is given in full: a pattern would allow more arguments.
    """
    allowed = [
        *(f"systemctl {verb} {_short(HEAD)}" for verb in ("start", "stop", "restart")),
        *(f"systemctl {verb} {_short(SWEEP)}" for verb in ("start", "stop", "enable", "disable")),
        *(f"systemctl {verb} --now {_short(SWEEP)}" for verb in ("enable", "disable")),
        f"journalctl {JOURNAL} {_short(HEAD)}",
    ]
    # sudo compares the path at which it finds the command.
    lines = [
        f"{head_paths.RAY_USER} ALL=(root) NOPASSWD: {folder}/{words}"
        for folder in ("/usr/local/bin", "/usr/bin", "/bin")
        for words in allowed
    ]
    return "\n".join(["# Stellux: see tune_app/cloud/head/units/__init__.py", *lines, ""])


def _short(unit: str) -> str:
    """As people type it."""
    return unit.removesuffix(".service")
