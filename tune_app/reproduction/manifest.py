"""The table of contents of a bundle: every file with its size and its SHA-256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Any

from tune_app.reproduction.difference import Difference

MANIFEST = "manifest.json"
FORMAT = 1


class BundleError(ValueError):
    """It is not a bundle, or one that this version cannot read."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle holds."""

    name: str
    """Of the sweep, or of the folder of several sweeps."""
    sweeps: tuple[str, ...]
    """Names of the sweeps, each of which is a folder in `sweeps/`."""
    source: str
    """Commit of the program that wrote the bundle."""
    files: Mapping[str, Mapping[str, Any]]
    """`bytes` and `sha256` by path."""

    @classmethod
    def of(cls, folder: Path, *, name: str, sweeps: tuple[str, ...], source: str) -> Manifest:
        """The manifest of the files in a folder."""
        files = {path: _record(folder / path) for path in files_in(folder)}
        return cls(name=name, sweeps=sweeps, source=source, files=files)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises BundleError if there is none, or if it cannot be read."""
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text("utf-8"))
            version = values["format"]
            if version == FORMAT:
                return cls._from_values(values)
        except FileNotFoundError:
            raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleError(f"{path} is not the manifest of a bundle ({error!r:.200})") from error
        raise BundleError(
            f"{path} is in format {version!r}, but this version reads {FORMAT}; verify it with the "
            "Stellux that wrote it"
        )

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> Manifest:
        manifest = cls(
            name=str(values["name"]),
            sweeps=tuple(map(str, values["sweeps"])),
            source=str(values["source"]),
            files={
                str(name): {"bytes": int(one["bytes"]), "sha256": str(one["sha256"])}
                for name, one in values["files"].items()
            },
        )
        for name in (*manifest.files, *manifest.sweeps):
            parts = PurePosixPath(name).parts
            if not parts or name.startswith("/") or ".." in parts or "\\" in name:
                raise ValueError(f"the path {name!r} lies outside of the bundle")
        if any(len(PurePosixPath(name).parts) != 1 for name in manifest.sweeps):
            raise ValueError("the name of a sweep is a path")
        return manifest

    def write(self, folder: Path) -> None:
        values = {"format": FORMAT, **asdict(self)}
        (folder / MANIFEST).write_text(
            json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8"
        )

    def check(self, folder: Path) -> None:
        """Raises Difference for the first file that is missing, is new or has another content."""
        found = set(files_in(folder))
        for name, record in self.files.items():
            told = _told(record)
            if name not in found:
                raise Difference(name, old=told, new="it is missing")
            if (now := _record(folder / name)) != record:
                raise Difference(name, old=told, new=_told(now))
        for name in sorted(found - self.files.keys()):
            raise Difference(name, old="the manifest does not name it", new="it is there")


def files_in(folder: Path) -> list[str]:
    """Paths of all files but the manifest, relative to the folder, in order."""
    paths = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    return [name for name in names if name != MANIFEST]


def _record(path: Path) -> dict[str, Any]:
    if path.is_symlink():
        raise BundleError(f"{path} is a link; a bundle has none")
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": file_digest(file, "sha256").hexdigest()}


def _told(record: Mapping[str, Any]) -> str:
    return f"{record['bytes']:,} bytes, SHA-256 {record['sha256']}"
