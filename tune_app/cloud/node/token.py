"""Ray's token: anyone who has it can run code in the cluster."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

logger = logging.getLogger(__name__)

GENERATE_S = 60.0


def token_file(home: Path) -> Path:
    """The file in which Ray looks for its user's token."""
    return home / ".ray" / "auth_token"


def ensure_token(home: Path, environment: Mapping[str, str]) -> Path:
    """Lets Ray create a token if there is none; only its owner may read the file.

    The token of an earlier start stays: workers have it. Returns the file. Raises OSError where
    none can be made.
    """
    path = token_file(home)
    if path.exists() and path.stat().st_size == 0:
        path.unlink()  # a machine that went down while it was written
    if not path.exists():
        # Ray alone would let everybody read it.
        made = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "get-auth-token", "--generate"],
            env={**environment, "HOME": str(home)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=GENERATE_S,
            umask=0o077,
        )
        if made.returncode or not path.exists():
            # Not what it said on standard output: that may be the token.
            said = made.stderr.decode("utf-8", errors="replace").strip()[-500:]
            raise OSError(f"Ray made no token in {path}: {said}; see that {home} can be written")
        logger.info("a new token for Ray lies in %s", path)
    path.chmod(0o600)
    return path


def check_token(home: Path) -> None:
    """Raises ValueError if the token has not arrived from the head."""
    path = token_file(home)
    if not path.is_file() or path.stat().st_size == 0:
        raise ValueError(
            f"no token in {path}: the head would refuse this node: file_mounts in "
            "cluster.yaml bring it from the head's ~/.ray/auth_token"
        )
    path.chmod(0o600)
