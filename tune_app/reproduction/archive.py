"""The archive of a bundle: packed alike every time, and unpacked with suspicion.

A zip archive has its table of contents at the end, so one that was cut off cannot be mistaken for a
whole one, and every size is known before anything is unpacked.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from tune_app import formats
from tune_app.reproduction.difference import Difference
from tune_app.results.whole_files import replacing

MOST_FILES = 10_000
MOST_BYTES = 4 << 30
"""Unpacked; a journal of 2,000 cells with 100 evaluations each has about 200 MB."""
_CHUNK = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_THE_SAME_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every file, so that equal contents give equal archives."""


class ArchiveError(ValueError):
    """The file is not a whole archive of a bundle, or not a harmless one."""


def pack(folder: Path, archive: Path) -> None:
    """Packs the files of a folder under the folder's name. Replaces the archive atomically."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with replacing(archive) as temporary, zipfile.ZipFile(temporary, "w") as packed:
        for path in files:
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            entry = zipfile.ZipInfo(name, date_time=_THE_SAME_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            with path.open("rb") as source, packed.open(entry, "w", force_zip64=True) as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)


@contextmanager
def unpacked(archive: Path, *, most_bytes: int = MOST_BYTES) -> Iterator[Path]:
    """A temporary folder with the files of an archive, as long as the block lasts.

    most_bytes: that it may have unpacked.

    Raises ArchiveError for a file that is not a whole archive or would do harm, and Difference if
    the content of a file is not what the archive's own table says.
    """
    try:
        packed = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise ArchiveError(
            f"{archive} is not a whole bundle ({formats.one_line(str(error))}): it was cut off or "
            "damaged, or is another file; fetch or make it again"
        ) from error
    with packed, TemporaryDirectory(prefix="stellux-bundle-") as scratch:
        root = Path(scratch).resolve()
        entries = [entry for entry in packed.infolist() if not entry.is_dir()]
        (top,) = _checked(archive, entries, root, most_bytes)
        for entry in entries:
            _extract(packed, entry, root)
        yield root / top


def _checked(
    archive: Path, entries: list[zipfile.ZipInfo], root: Path, most_bytes: int
) -> tuple[str]:
    """The name of the folder that all files are in. Raises ArchiveError; nothing is written."""
    if len(entries) > MOST_FILES:
        raise ArchiveError(f"{archive} has {len(entries):,} files; a bundle has {MOST_FILES:,}")
    size = sum(entry.file_size for entry in entries)
    if size > most_bytes:
        raise ArchiveError(
            f"{archive} would unpack to {formats.size(size)}; the limit is "
            f"{formats.size(most_bytes)}, which --largest raises"
        )
    names = set()
    for entry in entries:
        _refuse_harm(archive, entry, root)
        if entry.filename.casefold() in names:
            raise ArchiveError(f"{archive} has {entry.filename!r} twice; only one can be right")
        names.add(entry.filename.casefold())
    tops = {PurePosixPath(entry.filename).parts[0] for entry in entries}
    if len(tops) != 1 or any(len(PurePosixPath(entry.filename).parts) < 2 for entry in entries):
        raise ArchiveError(f"{archive} is not a bundle: its files are not in one folder")
    return (tops.pop(),)


def _refuse_harm(archive: Path, entry: zipfile.ZipInfo, root: Path) -> None:
    name = entry.filename
    parts = PurePosixPath(name).parts
    outside = (
        name.startswith("/")
        or "\\" in name
        or ".." in parts
        or not (root / name).resolve().is_relative_to(root)
    )
    if outside or not name.isprintable():
        raise ArchiveError(f"{archive} holds {name!r}, which lies outside of a bundle")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ArchiveError(f"{archive} holds {name!r}, which is a link or a device")
    if entry.compress_type not in _METHODS or entry.flag_bits & _ENCRYPTED:
        raise ArchiveError(f"{archive} holds {name!r}, packed in a way that no bundle is")


def _extract(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, root: Path) -> None:
    path = root / entry.filename
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ArchiveError(f"{entry.filename!r} lies in a file") from None
    inside = str(PurePosixPath(*PurePosixPath(entry.filename).parts[1:]))
    left = entry.file_size
    try:
        with packed.open(entry) as source, path.open("xb") as target:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:  # more than the table of contents says: it would never end
                    raise zipfile.BadZipFile("it is longer than it says")
                target.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise Difference(
            inside,
            old=f"{entry.file_size:,} bytes with the CRC-32 {entry.CRC:08x}",
            new=f"damaged in the archive ({formats.one_line(str(error))})",
        ) from error
