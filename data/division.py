"""Splits a small corpus by its bytes, where a hash of its few documents leaves a split empty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from data.documents import cut
from data.sources.base import Document
from data.splits import DEV_SHARE, SPLITS, TEST_SHARE

SMALLEST_BYTES = 2_000
"""Less text has no split of 5 % that says anything."""

RULE = "the first 90 % of its bytes train, the next 5 % dev, the last 5 % test"
"""As enwik8 and text8 are split by convention. In words, for people."""


def split_by_bytes(documents: Iterable[Document], total: int) -> Iterator[Document]:
    """The documents in their order, each with the split that its place among `total` bytes gives.

    A document across a border is cut, at a line end if one is near, else at white space. Null and
    blank documents are left out: they have no place.
    """
    borders = [round(total * (1 - DEV_SHARE - TEST_SHARE)), round(total * (1 - TEST_SHARE))]
    near = max(1, round(total * TEST_SHARE / 4))
    done = 0
    for document in documents:
        if not (text := document.text or b"").strip():
            continue
        begun = done
        done += len(text)
        while borders and done > borders[0]:
            end = cut(text, borders[0] - begun, borders[0] - begun + near)
            if head := text[:end]:
                yield Document(SPLITS[2 - len(borders)], head)
            text, begun = text[end:], begun + end
            borders.pop(0)
        if text:
            yield Document(SPLITS[2 - len(borders)], text)
