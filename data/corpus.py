"""Finds the corpus that a name or a path means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data.documents import GROUPINGS
from data.errors import CorpusError
from data.sources.base import Source
from data.sources.files import open_path
from data.sources.formats import FORMATS
from data.sources.hub import PUBLISHED, HubDataset, parse_hub_name
from data.sources.mixed import BETWEEN, MIX_PREFIX, MixedCorpus, corpora_in
from data.sources.standard_library import StandardLibrary
from data.suggestions import did_you_mean

DEFAULT_CORPUS = "stdlib"

HUB_PREFIX = "hf:"

GROUPING_MARK = "#"
"""Separates a path from the grouping of its text: `novels.txt#paragraphs`."""

FIELD_MARK = ":"
"""Separates a path from the field of its documents: `reviews.jsonl:review`."""


def _published(name: str) -> Callable[[], Source]:
    return lambda: HubDataset(name, PUBLISHED[name])


NAMED: dict[str, Callable[[], Source]] = {
    DEFAULT_CORPUS: StandardLibrary,
    **{name: _published(name) for name in PUBLISHED},
}


def find_corpus(corpus: str) -> Source:
    """The corpus of a name (`stdlib`, `wikitext-2`, `hf:owner/name:config:field` …) or a path.

    A known name wins over a file of that name; `./wikitext-2` means the folder. A path may be
    followed by the field that holds the documents, `reviews.jsonl:review`, or by how plain text is
    split into documents, `novels.txt#paragraphs`, which otherwise depends on its content.

    Several become one, with a domain for each: `mix:stdlib + reviews.jsonl:review`.

    Raises CorpusError if it is neither.
    """
    try:
        corpus.encode()
    except UnicodeEncodeError:  # a path in an older encoding, as the operating system gives it
        raise CorpusError(
            f"the path {corpus!a} is not UTF-8, so it cannot be kept in a record; rename it, "
            "or make a link to it with another name"
        ) from None
    if corpus.startswith(MIX_PREFIX):
        return _mixed(corpus)
    if corpus in NAMED:
        return NAMED[corpus]()
    if corpus.startswith(HUB_PREFIX):
        return HubDataset(corpus, parse_hub_name(corpus.removeprefix(HUB_PREFIX)))
    if corpus.startswith("~/"):  # a shell does not expand --corpus=~/texts
        corpus = str(Path(corpus).expanduser())
    path, field, grouping = _parts_of(corpus)
    if grouping is not None and grouping not in GROUPINGS:
        raise CorpusError(
            f"unknown grouping {grouping!r} of the text in {path}; "
            f"expected one of {', '.join(GROUPINGS)}"
        )
    if corpus and (_means_a_path(str(path)) or path.exists()):
        return open_path(corpus, path, field=field, grouping=grouping)
    hint = did_you_mean(corpus, NAMED, most=2, cutoff=0.5)
    raise CorpusError(
        f"no corpus is called {corpus!r}; {hint}expected one of {', '.join(NAMED)}, "
        f"{HUB_PREFIX}owner/name, or a path to a file ({', '.join(FORMATS)}) or a folder"
    )


def _mixed(corpus: str) -> MixedCorpus:
    names = corpora_in(corpus)
    if len(names) < 2 or not all(names):
        raise CorpusError(
            f"{corpus!r} does not name several corpora; write {MIX_PREFIX}ONE{BETWEEN}OTHER, with "
            "spaces around the +"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise CorpusError(f"the corpus {twice[0]!r} is twice in {corpus!r}; name each once")
    return MixedCorpus(name=corpus, parts=tuple(find_corpus(name) for name in names))


def _parts_of(corpus: str) -> tuple[Path, str | None, str | None]:
    """Path, field and grouping. What exists as a whole is a path, whatever marks are in it."""
    if Path(corpus).exists():
        return Path(corpus), None, None
    for mark in (GROUPING_MARK, FIELD_MARK):
        place, _, rest = corpus.rpartition(mark)
        if place and rest and (Path(place).suffix.lower() in FORMATS or Path(place).exists()):
            is_field = mark == FIELD_MARK
            return Path(place), rest if is_field else None, None if is_field else rest
    return Path(corpus), None, None


def _means_a_path(corpus: str) -> bool:
    return "/" in corpus or "\\" in corpus or Path(corpus).suffix.lower() in FORMATS
