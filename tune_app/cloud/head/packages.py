"""Programs of the machine's own distribution that the head needs, and that some servers lack."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence

PACKAGES = {"nft": "nftables", "sudo": "sudo"}
"""By the command that each brings: the firewall's, and what lets Ray's user restart its service."""
_WHERE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOCK = ("-q", "-o", "DPkg::Lock::Timeout=300")
"""A machine that has just started may hold apt's lock for a while."""


def install_packages(
    packages: Mapping[str, str] = PACKAGES,
    *,
    run: Callable[[Sequence[str]], object] | None = None,
) -> list[str]:
    """Installs what is missing, as root; returns the packages' names.

    Raises OSError if there is no apt-get, or it fails.
    """
    wanted = [name for command, name in packages.items() if not shutil.which(command, path=_WHERE)]
    if wanted:
        install = ("apt-get", *_LOCK, "-y", "install", "--no-install-recommends", *wanted)
        for words in (("apt-get", *_LOCK, "update"), install):
            (run or _run)(words)
    return wanted


def _run(words: Sequence[str]) -> None:
    told = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            words, check=False, capture_output=True, text=True, errors="replace", env=told
        )
    except FileNotFoundError:
        raise OSError(
            f"this machine has no apt-get, and lacks one of {', '.join(PACKAGES.values())}: use "
            "Debian or Ubuntu, or install them"
        ) from None
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
