"""Finds the corpus that a name or a path means."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from data.documents import GROUPINGS
from data.errors import CorpusError
from data.sources.base import Source
from data.sources.files import open_path
from data.sources.formats import FORMATS
from data.sources.hub import PUBLISHED, HubDataset, parse_hub_name
from data.sources.standard_library import StandardLibrary

DEFAULT_CORPUS = "stdlib"

HUB_PREFIX = "hf:"

GROUPING_MARK = "#"
"""Separates a path from the grouping of its text: `novels.txt#paragraphs`."""


def _published(name: str) -> Callable[[], Source]:
    return lambda: HubDataset(name, PUBLISHED[name])


NAMED: dict[str, Callable[[], Source]] = {
    DEFAULT_CORPUS: StandardLibrary,
    **{name: _published(name) for name in PUBLISHED},
}


def find_corpus(corpus: str) -> Source:
    """The corpus of a name (`stdlib`, `wikitext-2`, `hf:owner/name:config:field` …) or a path.

    A known name wins over a file of that name; `./wikitext-2` means the folder. How plain text is
    split into documents depends on its content, unless the path says it: `novels.txt#paragraphs`.

    Raises CorpusError if it is neither.
    """
    try:
        corpus.encode()
    except UnicodeEncodeError:  # a path in an older encoding, as the operating system gives it
        raise CorpusError(
            f"the path {corpus!a} is not UTF-8, so it cannot be kept in a record; rename it, "
            "or make a link to it with another name"
        ) from None
    if corpus in NAMED:
        return NAMED[corpus]()
    if corpus.startswith(HUB_PREFIX):
        return HubDataset(corpus, parse_hub_name(corpus.removeprefix(HUB_PREFIX)))
    path = Path(corpus)
    place, mark, grouping = corpus.rpartition(GROUPING_MARK)
    if mark and not path.exists() and (_means_a_path(place) or Path(place).exists()):
        if grouping not in GROUPINGS:
            raise CorpusError(
                f"unknown grouping {grouping!r} of the text in {place}; "
                f"expected one of {', '.join(GROUPINGS)}"
            )
        return open_path(corpus, Path(place), grouping=grouping)
    if corpus and (_means_a_path(corpus) or path.exists()):
        return open_path(corpus, path)
    near = get_close_matches(corpus, NAMED, n=2, cutoff=0.5)
    suggestion = f" Did you mean {' or '.join(near)}?" if near else ""
    raise CorpusError(
        f"no corpus is called {corpus!r}.{suggestion} Known: {', '.join(NAMED)}, "
        f"{HUB_PREFIX}owner/name, or a path to a file ({', '.join(FORMATS)}) or a folder"
    )


def _means_a_path(corpus: str) -> bool:
    return "/" in corpus or "\\" in corpus or Path(corpus).suffix.lower() in FORMATS
