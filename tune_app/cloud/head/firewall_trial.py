"""A new firewall is on trial until somebody has logged in through it.

Rules that lock the user out would have to be undone at the provider's console. So the installer
starts a process that undoes them unless the user's machine confirms them by a login that began
after them: sessions that were open before are let through by any rules.
"""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

from tune_app.cloud.head.shell import HeadShell, HeadUnreachableError
from tune_app.cloud.head_paths import FIREWALL

CONFIRMED = Path("/run/stellux-firewall-confirmed")
WITHIN_S = 120

_TRIAL = """\
left={within_s}
while [ $left -gt 0 ]; do
  [ -e {confirmed} ] && exit 0
  sleep 1
  left=$((left - 1))
done
if [ -e {before} ]; then
  mv {before} {rules} && nft -f {rules}
else
  # Without it Ray does not start, whose ports it closes.
  mv {rules} {rules}.refused
  nft delete table inet stellux
fi
"""


def trial(rules: Path, before: Path, confirmed: Path, *, within_s: int) -> str:
    """A shell script that undoes rules which nobody confirms. Pure.

    Args:
        rules: the file that is loaded now.
        before: the one that was loaded before; missing for the first time.
        confirmed: exists once somebody has logged in.
    """
    return _TRIAL.format(
        rules=shlex.quote(str(rules)),
        before=shlex.quote(str(before)),
        confirmed=shlex.quote(str(confirmed)),
        within_s=within_s,
    )


def begin_trial(
    text: str,
    *,
    rules: Path = FIREWALL,
    confirmed: Path = CONFIRMED,
    within_s: int = WITHIN_S,
) -> bool:
    """To be called before rules are written and loaded, as root. False where they are the same.

    Args:
        text: the new rules.
    """
    before = rules.with_name(f"{rules.name}.before")
    confirmed.unlink(missing_ok=True)
    before.unlink(missing_ok=True)
    old = rules.read_text("utf-8") if rules.exists() else None
    if old == text:
        return False
    if old is not None:
        before.write_text(old, "utf-8")
    subprocess.Popen(
        ["sh", "-c", trial(rules, before, confirmed, within_s=within_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # It outlives the session of who installs.
        start_new_session=True,
    )
    return True


def confirm(shell: HeadShell) -> None:
    """Logs in again, through the new rules. Raises HeadUnreachableError if that is not possible."""
    fresh = replace(shell, fresh=True)
    try:
        fresh.run(fresh.as_root("touch", str(CONFIRMED)), timeout_s=WITHIN_S / 2)
    except HeadUnreachableError as error:
        raise HeadUnreachableError(
            f"{error}. The head's new firewall keeps you out: it is undone within {WITHIN_S} s. "
            "Name the port by which you log in under provider.head.open_ports, as 2222/tcp"
        ) from error
