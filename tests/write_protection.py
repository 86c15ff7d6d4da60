"""A folder that this process may read and not write, even if it is root."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65_534


@contextmanager
def write_protected() -> Iterator[Path]:
    """A folder that `protect` may be called for; removed afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), os.geteuid()
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            os.seteuid(user)
            for path in (folder, *folder.rglob("*")):
                if path.is_dir():
                    path.chmod(0o700)


def protect(folder: Path) -> None:
    """From now on, until `write_protected` ends, this process is somebody who may only read it."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o555)
    if os.geteuid() == 0:  # who may write everywhere
        os.seteuid(_NOBODY)
