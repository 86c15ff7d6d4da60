"""The command line of the only process that holds the account's key, and the only one that rents.

python -m tune_app.cloud.daemon SETTINGS --state FOLDER < key

With --overlay and --overlay-folder, workers get keys of their own, and a worker that loses its link
is ended.

The key comes over standard input. Whoever may open the socket may ask for workers within the cap,
see them and end them; nothing else. Killed at any moment, the next one goes on from the ledger.
"""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path

from cyclopts import App

from tune_app.cloud.daemon.daemon import MODULE, serve
from tune_app.cloud.daemon.overlay import join_overlay
from tune_app.cloud.renting.settings import load_settings
from tune_app.cloud.secrets.key import read_key
from tune_app.command_line import run_command

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main(
    settings: Path,
    *,
    state: Path,
    socket: Path | None = None,
    group: str | None = None,
    overlay: Path | None = None,
    overlay_folder: Path | None = None,
) -> int:
    """Rent and watch workers until SIGTERM. The key comes over standard input.

    Parameters
    ----------
    settings
        A JSON file: see tune_app/cloud/renting/settings.py.
    state
        Folder of the ledgers, each below its cluster's name; one daemon works in it at a time.
    socket
        Where to listen; default STELLUX_CLOUD_SOCKET, or /run/stellux/cloud.sock.
    group
        Whose members may ask, too; default only this user.
    overlay
        A JSON file: see tune_app/cloud/overlay/settings.py; default no links to workers.
    overlay_folder
        Folder of the head's keys and of the admitted ones.
    """
    logging.getLogger("tune_app").setLevel(logging.INFO)
    # No core file either, which would hold the key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told = load_settings(settings)
    setup = links = None
    if overlay is not None and overlay_folder is not None:
        told, setup, links = join_overlay(told, overlay, overlay_folder)
    elif overlay is not None or overlay_folder is not None:
        raise ValueError("--overlay and --overlay-folder belong together; give both, or neither")
    key = read_key(sys.stdin.buffer)
    serve(told, key, state=state, path=socket, group=group, setup=setup, links=links)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
