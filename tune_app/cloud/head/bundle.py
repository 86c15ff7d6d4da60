"""What the user's machine sends to the head: source and settings, as one archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]
"""Of the project's source."""
PACKAGES = ("tune_app", "model", "data", "search_spaces")
FILES = ("requirements.txt", "requirements.lock", "pyproject.toml", "README.md")
CODE = "code"
SETTINGS = "settings"
MOST_BYTES = 64 * 2**20
_LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache"}


def source_files(root: Path = ROOT) -> Iterator[Path]:
    """Files of the program, relative to `root`, in order."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and not _LEFT_OUT & set(parts) and not path.name.startswith("."):
                yield path.relative_to(root)
    for name in FILES:
        if (root / name).is_file():
            yield Path(name)


def code_name(root: Path = ROOT) -> str:
    """What the program's folder is called on a head: another one for every other source."""
    digest = hashlib.sha256()
    for path in source_files(root):
        content = (root / path).read_bytes()
        digest.update(f"{path.as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return f"{CODE}-{digest.hexdigest()[:16]}"


def bundle(settings: Mapping[str, str], root: Path = ROOT) -> bytes:
    """A tar.gz with the source under `code/` and the settings' texts under `settings/`.

    It holds no trace of the machine on which it was made.

    Raises ValueError if the folders hold more than this program.
    """
    found = list(source_files(root))
    sizes = {path: (root / path).stat().st_size for path in found}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda path: sizes[path])
        raise ValueError(
            f"the program's folders hold {sum(sizes.values()) / 2**20:.0f} MiB, the largest file "
            f"is {largest}; at most {MOST_BYTES / 2**20:.0f} MiB are sent to the head: move data "
            "out of them"
        )
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6) as archive:
        for path in found:
            _add(archive, f"{CODE}/{path.as_posix()}", (root / path).read_bytes())
        for name, text in settings.items():
            _add(archive, f"{SETTINGS}/{name}", text.encode("utf-8"))
    return stream.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    item = tarfile.TarInfo(name)
    item.size, item.mode = len(content), 0o644
    archive.addfile(item, io.BytesIO(content))
