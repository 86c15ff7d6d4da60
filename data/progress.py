"""How long work says where it stands."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Called again and again while a corpus is prepared."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` bytes of text are through `stage`; a total of 0 is not known yet."""
        ...


def silent(stage: str, done: int, total: int) -> None:
    """Reports to nobody."""
