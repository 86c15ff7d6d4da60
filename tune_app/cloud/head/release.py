"""Takes the cluster off a head that stays: services and the account's key go, results stay.

python -m tune_app.cloud.head.release
"""

from __future__ import annotations

import sys

from cyclopts import App

from tune_app.cloud.head.install import SUDOERS
from tune_app.cloud.head.layout import VAST_KEY
from tune_app.cloud.head.services import systemctl
from tune_app.cloud.head.units import UNITS
from tune_app.command import run_command

MODULE = "tune_app.cloud.head.release"

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main() -> int:
    """Stop and disable every service of the cluster, and forget the account's key."""
    # The last one started ends first: whoever watches stays until nothing is left to watch.
    for name in reversed(UNITS):
        systemctl("disable", "--now", name)
    VAST_KEY.unlink(missing_ok=True)
    SUDOERS.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
