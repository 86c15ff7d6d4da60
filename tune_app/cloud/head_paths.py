"""Paths on the head, and who owns them."""

from __future__ import annotations

from pathlib import Path

PROGRAM = Path("/opt/stellux")
CODE = PROGRAM / "code"
"""A link to the program's source, owned by root: the daemon runs it too."""
ENVIRONMENT = PROGRAM / "env"
PYTHON = ENVIRONMENT / "bin" / "python"
TOOLS = PROGRAM / "bin"

CONFIGURATION = Path("/etc/stellux")
DAEMON_SETTINGS = CONFIGURATION / "daemon.json"
OVERLAY_SETTINGS = CONFIGURATION / "overlay.json"
HEAD_SETTINGS = CONFIGURATION / "head.json"
HEAD_ENVIRONMENT = CONFIGURATION / "head.env"
SSHD_CONFIG = CONFIGURATION / "sshd_config"
"""Of the second SSH server. Root's: it decides who logs in as whom, and what they may run."""
FIREWALL = CONFIGURATION / "firewall.nft"
ACCOUNT_KEY = CONFIGURATION / "vast_key"
"""Of whichever market; named when Vast.ai was the only one, and heads that run have it so."""

STATE = Path("/var/lib/stellux")
CLOUD_STATE = STATE / "cloud"
"""The daemon's; each cluster that this head served has its own folder in it."""
OVERLAY_FOLDER = STATE / "overlay"
AGENTS = STATE / "agents"
STORE_AGENT = AGENTS / "store" / "socket"
"""Of the agent that holds the head's key to the store, for the sweep and for logins."""
UPDATER_AGENT = AGENTS / "updater" / "socket"
"""Of the agent that holds the key to workers, for Ray's updaters."""
SOCKET = Path("/run/stellux/cloud.sock")

STORE = "/store"
"""Of checkpoints and tokens, as the store's user sees it."""

RAY_USER = "stellux"
"""The user of Ray, of the sweep and of Ray's commands; it has no way to become root."""
CLOUD_USER = "stellux-cloud"
"""The user of the daemon that holds the account's key."""
RAY_HOME = Path("/home") / RAY_USER
UPDATER_PUBLIC = RAY_HOME / ".stellux" / "updater_key.pub"
"""Says which of an agent's keys opens workers."""

ENVIRONMENT_SCRIPT = CODE / "tune_app" / "cloud" / "node" / "environment.sh"
