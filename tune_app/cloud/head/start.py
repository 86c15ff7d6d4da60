"""Takes the account's key, tries it, and starts the daemon that alone holds it.

python -m tune_app.cloud.head.start < key

Run on the head as root, by the user's machine. A key that does not work, or nothing that could be
rented under the caps, is told before anything is started.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from cyclopts import App

from tune_app.cloud.daemon import read_key
from tune_app.cloud.daemon_client import DaemonClient
from tune_app.cloud.errors import CloudError, NoOfferError
from tune_app.cloud.head.layout import DAEMON_SETTINGS, SOCKET, VAST_KEY
from tune_app.cloud.head.services import journal_tail, systemctl
from tune_app.cloud.head.units import CLOUD
from tune_app.cloud.key import ApiKey
from tune_app.cloud.labels import prefix
from tune_app.cloud.offers import Choice, NoOffer, choose
from tune_app.cloud.overlay.keys import write_file
from tune_app.cloud.pace import Pace
from tune_app.cloud.settings import CloudSettings, load_settings
from tune_app.cloud.vast import VastClient
from tune_app.cloud.wire import DaemonError
from tune_app.command import run_command

MODULE = "tune_app.cloud.head.start"
ANSWER_S = 60.0

logger = logging.getLogger(MODULE)

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main() -> int:
    """Try the key that comes over standard input, store it for the daemon, and start it."""
    settings = load_settings(DAEMON_SETTINGS)
    key = read_key(sys.stdin.buffer)
    client = VastClient(
        key,
        base_url=settings.base_url,
        pace=Pace(settings.seconds_between, margin_s=settings.pace_margin),
        timeout_s=settings.patience.http,
        retry_s=settings.patience.retry,
    )
    try:
        lines = try_account(settings, client)
    finally:
        client.close()
    store_key(key, VAST_KEY)
    systemctl("restart", CLOUD)
    _wait_for(DaemonClient(SOCKET, timeout_s=10.0))
    sys.stdout.write("\n".join([*lines, ""]))
    return 0


def try_account(settings: CloudSettings, client: VastClient) -> list[str]:
    """What the account could rent now, a line for each kind of worker.

    Raises WrongKeyError for a key that the API does not know, NoOfferError where some kind of
    worker could not be rented at any price that the caps allow, and CloudError where it is not
    known.
    """
    client.instances(labelled=prefix(settings.cluster))
    lines = []
    for name, kind in settings.node_types.items():
        found: Choice | NoOffer | None = None
        for caps in (True, False):
            offers = client.search(kind.rules.filters(caps=caps), disk_gb=kind.rules.disk_gb)
            found = choose(offers, kind.rules)
            if isinstance(found, Choice):
                break
        if isinstance(found, NoOffer):
            raise NoOfferError(f"{name}: {found.reason}")
        assert found is not None
        lines.append(f"{name}: {found.reason}")
    return lines


def store_key(key: ApiKey, path: Path) -> None:
    """Where the daemon's unit takes it from as it starts; only root may read it."""
    write_file(path, key.reveal() + "\n", mode=0o600)


def _wait_for(client: DaemonClient) -> None:
    """Until the daemon answers; launches are allowed then."""
    until = time.monotonic() + ANSWER_S
    while True:
        try:
            client.open()
        except DaemonError as error:
            if time.monotonic() > until:
                raise CloudError(
                    f"the cloud daemon did not start within {ANSWER_S:g} s ({error}); it said:\n"
                    f"{journal_tail(CLOUD)}"
                ) from None
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
