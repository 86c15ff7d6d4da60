"""The head's services, through systemd."""

from __future__ import annotations

import subprocess
from pathlib import Path

LINES = 20


class ServiceError(OSError):
    """systemd refused, or could not do, what was asked."""


def systemctl(*words: str, as_root: bool = False) -> str:
    """Runs systemctl; returns what it prints. Raises ServiceError.

    Args:
        as_root: ask sudo for it; Ray's user may do so for a few commands.
    """
    return _run([*(("sudo", "-n") if as_root else ()), "systemctl", *words])


JOURNAL = f"--no-pager -o cat -n {LINES} -u"
"""Arguments of journalctl, as sudoers(5) allows them to Ray's user."""


def journal_tail(unit: str, *, as_root: bool = False) -> str:
    """The last lines that a service said, or why they cannot be shown.

    Args:
        as_root: ask sudo for it; the system's journal is not open to Ray's user.
    """
    try:
        return _run([*(("sudo", "-n") if as_root else ()), "journalctl", *JOURNAL.split(), unit])
    except (ServiceError, OSError) as error:
        return f"(its log cannot be shown: {error})"


def _run(words: list[str]) -> str:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        raise ServiceError(f"this machine has no {Path(words[0]).name}; it needs systemd") from None
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise ServiceError(f"{' '.join(words)}: {said}")
    return done.stdout
