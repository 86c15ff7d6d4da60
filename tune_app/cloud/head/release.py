"""Takes the cluster off a head that stays: services and the account's key go, results stay.

python -m tune_app.cloud.head.release
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from contextlib import suppress

from cyclopts import App

from tune_app.cloud.errors import CloudError, WrongKeyError
from tune_app.cloud.head.install import SUDOERS
from tune_app.cloud.head.ray_home import shut_out
from tune_app.cloud.head.services import systemctl
from tune_app.cloud.head.units import CLOUD, UNITS
from tune_app.cloud.head_paths import ACCOUNT_KEY, CLOUD_STATE, DAEMON_SETTINGS, RAY_USER
from tune_app.cloud.market.labels import prefix
from tune_app.cloud.market.records import Instance
from tune_app.cloud.market.site import MarketSite
from tune_app.cloud.open_market import open_market, site_of
from tune_app.cloud.overlay.access import Account
from tune_app.cloud.renting.head_id import read_head_id
from tune_app.cloud.renting.orphans import may_be_of
from tune_app.cloud.renting.settings import load_settings
from tune_app.cloud.secrets.key import read_key
from tune_app.command_line import run_command

MODULE = "tune_app.cloud.head.release"

logger = logging.getLogger(MODULE)

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main() -> int:
    """Stop and disable every service of the cluster, and forget the account's key."""
    # In reverse: the services that watch stay until there is nothing left to watch.
    for name in reversed(UNITS):
        systemctl("disable", "--now", name)
        if name == CLOUD:
            _check_empty()
    ACCOUNT_KEY.unlink(missing_ok=True)
    SUDOERS.unlink(missing_ok=True)
    # Code in the cluster may have let others in.
    with suppress(ValueError):
        shut_out(Account.of(RAY_USER))
    return 0


def _check_empty() -> None:
    """Nobody rents any more: a last look, for what was on its way when the one before was done.

    Raises CloudError if something is left, or that is unknown; the daemon then continues.
    """
    if not (ACCOUNT_KEY.is_file() and DAEMON_SETTINGS.is_file()):
        return
    settings = load_settings(DAEMON_SETTINGS)
    site = site_of(settings.access)
    try:
        with ACCOUNT_KEY.open("rb") as file, open_market(settings.access, read_key(file)) as market:
            head = read_head_id(CLOUD_STATE)
            listed = market.instances(labelled=prefix(settings.cluster))
            left = [one for one in listed if may_be_of(one, settings.cluster, head)]
            refuse_left(left, site)
    except WrongKeyError as error:
        # This key ends nothing any more.
        logger.warning("which machines are rented is unknown: %s; see %s", error, site.instances)
    except CloudError:
        systemctl("enable", "--now", CLOUD)
        raise


def refuse_left(instances: Collection[Instance], site: MarketSite) -> None:
    """Raises CloudError for instances that exist."""
    if instances:
        raise CloudError(
            f"instances {', '.join(str(item.id) for item in instances)} were rented meanwhile; the "
            f"daemon and its key are kept: run ray down again, or end them at {site.instances}"
        )


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
