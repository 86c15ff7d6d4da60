"""How long-running work reports its progress."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Called repeatedly while a corpus is prepared."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`stage` has processed `done` of `total` bytes of text; a total of 0 is not known yet."""
        ...


def silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""
