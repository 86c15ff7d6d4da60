"""Which source a sweep ran from: the commit, and whether the checkout has changes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Root of the source, with links resolved: on a cluster head the folder is named by content."""
UNKNOWN = "unknown"

_BUNDLE = re.compile(r"code-[0-9a-f]{16}")
_SECONDS = 10.0
_SHA_DIGITS = 12


def source_version(root: Path = ROOT) -> str:
    """The commit, as in `2944e88d4a7b` or `2944e88d4a7b, changed`; on a head `code-` and a hash.

    `unknown` in an installed package or without git. Never raises: a sweep must not fail
    because of this.
    """
    if _BUNDLE.fullmatch(root.name):
        return root.name
    if not (root / ".git").exists():
        return UNKNOWN
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return UNKNOWN
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    if changes is None:
        return f"{commit[:_SHA_DIGITS]}, perhaps changed"
    return commit[:_SHA_DIGITS] + (", changed" if changes else "")


def _git(root: Path, *arguments: str) -> str | None:
    """Output of git; None if it fails."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
