"""Where things are on the head, and who owns them."""

from __future__ import annotations

from pathlib import Path

PROGRAM = Path("/opt/stellux")
CODE = PROGRAM / "code"
"""The program's source; root's, as the daemon runs it, which Ray's user must not change. A link."""
ENVIRONMENT = PROGRAM / "env"
PYTHON = ENVIRONMENT / "bin" / "python"
TOOLS = PROGRAM / "bin"

CONFIGURATION = Path("/etc/stellux")
DAEMON_SETTINGS = CONFIGURATION / "daemon.json"
OVERLAY_SETTINGS = CONFIGURATION / "overlay.json"
HEAD_SETTINGS = CONFIGURATION / "head.json"
HEAD_ENVIRONMENT = CONFIGURATION / "head.env"
SSHD_CONFIG = CONFIGURATION / "sshd_config"
"""Of the second SSH server. root's: it says as whom somebody comes in, and what they may run."""
FIREWALL = CONFIGURATION / "firewall.nft"
VAST_KEY = CONFIGURATION / "vast_key"

STATE = Path("/var/lib/stellux")
CLOUD_STATE = STATE / "cloud"
"""The daemon's; each cluster that this head served has a folder of its own in it."""
OVERLAY_FOLDER = STATE / "overlay"
SOCKET = Path("/run/stellux/cloud.sock")

STORE = "/store"
"""Of checkpoints and tokens, as the store's user sees it."""

RAY_USER = "stellux"
"""Who runs Ray and the sweep, and who Ray's commands come in as. Not root, and no way to it."""
CLOUD_USER = "stellux-cloud"
"""Who runs the daemon that holds the account's key."""
RAY_HOME = Path("/home") / RAY_USER

ENVIRONMENT_SCRIPT = CODE / "tune_app" / "cloud" / "node" / "environment.sh"
