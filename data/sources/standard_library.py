"""The corpus `stdlib`: the source of the running Python's standard library, one document per file.

Real text that every machine already has. Machines with the same version of Python must get the same
corpus, so what a build of Python generates about its own machine is left out.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from data.errors import CorpusError
from data.sources.base import Document
from data.splits import split_by_hash

LEFT_OUT_FOLDERS = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "encodings",  # tables of code points
        "idlelib",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
    }
)
LEFT_OUT_PREFIXES = ("_sysconfigdata", "config-")
"""Files and folders that describe the build and differ from machine to machine."""


class StandardLibrary:
    """Every `*.py` below `root` except tests, tables and what the build generated."""

    name = "stdlib"
    splitting = "90/5/5 by a hash of each file's path"
    grouping = ""
    divisible = False

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(sysconfig.get_path("stdlib"))

    def content_hash(self) -> str:
        digest = sha256(b"stdlib\n")
        for path, text in self._files():
            digest.update(f"{path}\n{len(text)}\n".encode())
            digest.update(text)
        return digest.hexdigest()

    def documents(self) -> Iterator[Document]:
        for path, text in self._files():
            if not text.strip():
                continue  # an empty __init__.py is no document that could be missed
            yield Document(split_by_hash(path.encode()), text)

    def _files(self) -> Iterator[tuple[str, bytes]]:
        """Path relative to the root, with slashes, and content of each file."""
        found = False
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not _left_out(name))
            for name in sorted(names):
                if not name.endswith(".py") or _left_out(name):
                    continue
                file = Path(folder, name)
                text = file.read_bytes()
                try:
                    text.decode()
                except UnicodeDecodeError:
                    continue  # the few sources in older encodings are not worth a decoder
                found = True
                yield file.relative_to(self.root).as_posix(), text
        if not found:
            raise CorpusError(
                f"this Python has no sources of its standard library in {self.root}; "
                "use another corpus (a file, a folder, a Hugging Face name), "
                "or a Python installed with its sources"
            )


def _left_out(name: str) -> bool:
    return name in LEFT_OUT_FOLDERS or name.startswith(LEFT_OUT_PREFIXES)
