"""Takes the account's key, tries it, and starts the daemon that alone holds it.

python -m tune_app.cloud.head.start < key

Run on the head as root, by the user's machine. A key that does not work, or no offer under the
caps, is reported before anything starts.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App

from tune_app.cloud.daemon.client import DaemonClient
from tune_app.cloud.daemon.protocol import DaemonError, Status
from tune_app.cloud.errors import CloudError, NoOfferError, WrongKeyError
from tune_app.cloud.head.services import journal_tail, systemctl
from tune_app.cloud.head.units import CLOUD
from tune_app.cloud.head_paths import ACCOUNT_KEY, CLOUD_STATE, CLOUD_USER, DAEMON_SETTINGS, SOCKET
from tune_app.cloud.ledger.file import ledger_path, still_rented
from tune_app.cloud.market.labels import prefix
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.open_market import open_market
from tune_app.cloud.overlay.access import Account
from tune_app.cloud.renting.billing import DAY_S, charges_need
from tune_app.cloud.renting.budget import Stage
from tune_app.cloud.renting.offers import NoOffer, search_and_choose
from tune_app.cloud.renting.settings import CloudSettings, load_settings
from tune_app.cloud.secrets.key import ApiKey, read_key
from tune_app.cloud.whole_files import write_file
from tune_app.command_line import run_command

MODULE = "tune_app.cloud.head.start"
ANSWER_S = 60.0

logger = logging.getLogger(MODULE)

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main() -> int:
    """Try the key that comes over standard input, store it for the daemon, and start it."""
    settings = load_settings(DAEMON_SETTINGS)
    key = read_key(sys.stdin.buffer)
    with open_market(settings.access, key) as market:
        _refuse_other_account(settings, key, market)
        lines = try_account(settings, market)
    store_key(key, ACCOUNT_KEY)
    systemctl("restart", CLOUD)
    daemon = DaemonClient(SOCKET, timeout_s=10.0)
    _wait_for(daemon)
    lines += cap_lines(daemon.status())
    sys.stdout.write("\n".join([*lines, ""]))
    return 0


def try_account(settings: CloudSettings, market: Market) -> list[str]:
    """What the account could rent now, a line for each kind of worker.

    Raises WrongKeyError for a key that the API does not know, NoOfferError if some kind of
    worker could not be rented at any price that the caps allow, and CloudError if it is not
    known.
    """
    market.instances(labelled=prefix(settings.cluster))
    lines = _try_charges(market)
    for name, kind in settings.node_types.items():
        found = search_and_choose(market, kind.rules)
        if isinstance(found, NoOffer):
            raise NoOfferError(f"{name}: {found.reason}")
        lines.append(f"{name}: {found.reason}")
    return lines


def _try_charges(market: Market) -> list[str]:
    """Raises WrongKeyError for a key that may not see what is charged."""
    now = time.time()
    try:
        market.charges(now - DAY_S, now)
    except WrongKeyError as error:
        raise WrongKeyError(f"{error}; {charges_need(market.site)}") from None
    except CloudError as error:
        return [f"what was charged is not known ({error}): nothing is rented until it is"]
    return []


def cap_lines(status: Status) -> list[str]:
    """What the cap keeps from being rented; nothing while it does not."""
    if status.stage == Stage.OPEN.value:
        return []
    return [
        f"${status.spent:.2f} of the cap of ${status.cap:.2f} is spent, over the life of the "
        f"cluster {status.cluster!r}, on rented machines: no more are rented; raise cap_dollars in "
        "the YAML. A head bills besides"
    ]


def _refuse_other_account(settings: CloudSettings, key: ApiKey, market: Market) -> None:
    with Account.of(CLOUD_USER).acting():
        left = still_rented(ledger_path(CLOUD_STATE, settings.cluster))
    if not left or not ACCOUNT_KEY.is_file():
        return  # the key is forgotten only where nothing was left
    with ACCOUNT_KEY.open("rb") as file:
        before = read_key(file)
    if before.reveal() != key.reveal():
        refuse_other_account(settings, left, market, before=before)


def refuse_other_account(
    settings: CloudSettings, left: Sequence[int], market: Market, *, before: ApiKey
) -> None:
    """Raises ValueError if workers would keep billing in an account that nobody watches.

    Args:
        left: contracts that the ledger does not know to be gone.
        client: with the new key.
        before: the key that the head had until now.

    Raises CloudError if the new key's account cannot be seen.
    """
    labelled = prefix(settings.cluster)
    if {item.id for item in market.instances(labelled=labelled)} & set(left):
        return
    try:
        with open_market(settings.access, before) as earlier:
            if not {item.id for item in earlier.instances(labelled=labelled)} & set(left):
                return
        known = "the key on the head sees them"
    except CloudError as error:
        known = f"the key on the head cannot tell: {error}"
    raise ValueError(
        f"instances {', '.join(map(str, left))} are rented for the cluster {settings.cluster!r}, "
        f"and this key's account does not have them ({known}); use a key of the account that "
        "rented them, or end them first with ray down"
    )


def store_key(key: ApiKey, path: Path) -> None:
    """Stores the key for the daemon's unit; only root may read it."""
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
