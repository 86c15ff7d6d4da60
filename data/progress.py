"""How long-running work reports its progress."""

from __future__ import annotations

from typing import Protocol

BYTES = "bytes"


class Report(Protocol):
    """Called repeatedly while a corpus is prepared."""

    def __call__(self, stage: str, done: int, total: int, unit: str = BYTES) -> None:
        """`stage` has done `done` of `total`; a total of 0 is not known yet.

        unit: what is counted, in the plural; bytes of text if nothing else is said.
        """
        ...


def silent(stage: str, done: int, total: int, unit: str = BYTES) -> None:
    """Reports nothing."""
