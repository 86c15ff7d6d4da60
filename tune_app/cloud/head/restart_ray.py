"""Starts Ray on the head, or starts it again, and waits until it answers.

python -m tune_app.cloud.head.restart_ray

Run on the head as Ray's user, by `ray up`. Ray is a service there, so that it comes back after a
fault and after a reboot.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cyclopts import App

from tune_app.cloud.head.services import ServiceError, journal_tail, systemctl
from tune_app.cloud.head_paths import HEAD_SETTINGS
from tune_app.cloud.node.settings import load_head_settings
from tune_app.command_line import run_command

MODULE = "tune_app.cloud.head.restart_ray"
UNIT = "stellux-head"
"""As sudoers(5) allows it, to the letter."""
WITHIN_S = 420.0
"""Time for several starts: Ray gives up one that takes over 30 s, and systemd begins another."""

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main(*, within: float = WITHIN_S) -> int:
    """Restart Ray's service.

    Parameters
    ----------
    within
        Seconds after which it is given up.
    """
    started = Path(load_head_settings(HEAD_SETTINGS).started).expanduser()
    before = _read(started)
    systemctl("restart", UNIT, as_root=True)
    until = time.monotonic() + within
    while _read(started) in {None, before}:
        # systemd does not restart it if somebody has to fix something first.
        given_up = systemctl("show", UNIT, "-p", "ActiveState", "--value").strip() == "failed"
        if given_up or time.monotonic() > until:
            said = journal_tail(UNIT, as_root=True)
            within_told = "" if given_up else f" within {within:g} s"
            raise ServiceError(f"Ray did not start{within_told}; its service said:\n{said}")
        time.sleep(0.5)
    sys.stdout.write("Ray runs; see the cluster with: ray status\n")
    return 0


def _read(started: Path) -> str | None:
    """The id of Ray's last start; None before the first."""
    try:
        return started.read_text("utf-8")
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
