"""Prepares a corpus: reads it, trains its tokenizer, packs its tokens, and caches the result.

python -m data.prepare stdlib --vocab-size 4096 --tokenizer byte_level_bpe
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from data.cache import CACHE_VARIABLE, built_whole, default_cache, only_one_builder
from data.corpus import DEFAULT_CORPUS, find_corpus
from data.counts import from_command_line
from data.display import manifest_table, progress_display
from data.errors import CorpusError, DamagedCorpusError, reading_explained, writing_explained
from data.gathering import GatheredSplit, gather
from data.interruption import interruptible
from data.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    DomainRecord,
    FileRecord,
    Manifest,
)
from data.packing import TrainingTexts, pack, token_type
from data.prepared import PreparedCorpus
from data.printable import print_what_can_be_printed
from data.progress import Report, silent
from data.sources.base import Source
from data.sources.mixed import MixedCorpus
from data.splits import SplitName
from data.tokenizers.base import TokenizerKind, kind_of
from data.tokenizers.spec import DEFAULT_KIND, TokenizerSpec, named

logger = logging.getLogger(__name__)


def prepare(
    corpus: str,
    tokenizer: TokenizerSpec,
    *,
    cache: Path | None = None,
    report: Report | None = None,
) -> PreparedCorpus:
    """The packed tokens of a corpus under a tokenizer, which is trained on its train split.

    `corpus` is a name or a path (see data.corpus). The result is cached by the corpus' content,
    the tokenizer's identity and the format; a damaged one is built again, with a warning. If two
    processes ask for the same corpus at once, one builds it and the other waits.

    Raises CorpusError, in one line, for a corpus that cannot be used or a cache that cannot be
    written.
    """
    report = report or silent
    kind = kind_of(tokenizer.resolved())
    report("look at the corpus", 0, 0)
    with reading_explained(corpus):
        source = find_corpus(corpus)
        corpus_sha256 = source.content_hash()
    folder = (cache or default_cache()) / _key(corpus_sha256, kind.spec)
    prepared = _opened_or_built(source, corpus_sha256, kind, folder, report)
    for problem in prepared.equal_splits():
        logger.warning("%s: %s", source.name, problem)
    return prepared


def _opened_or_built(
    source: Source, corpus_sha256: str, kind: TokenizerKind, folder: Path, report: Report
) -> PreparedCorpus:
    with writing_explained(folder.parent, CACHE_VARIABLE):
        # A complete corpus needs no lock: it never changes, and its cache may be read-only.
        with suppress(FileNotFoundError, DamagedCorpusError):
            return _open_verified(folder)
        with only_one_builder(folder, report):
            try:
                return _open_verified(folder)  # another process built it while this one waited
            except FileNotFoundError:
                pass
            except DamagedCorpusError as error:
                logger.warning("a cached corpus is damaged; building it again: %s", error.reason)
            with built_whole(folder) as partial:
                _build(source, corpus_sha256, kind, partial, report)
            return PreparedCorpus.open(folder)


def _key(corpus_sha256: str, tokenizer: TokenizerSpec) -> str:
    identity = f"{FORMAT_VERSION} {corpus_sha256} {tokenizer.key}".encode()
    return f"{tokenizer.key}-{sha256(identity).hexdigest()[:16]}"


def _open_verified(folder: Path) -> PreparedCorpus:
    """The corpus in a folder. Raises FileNotFoundError if there is no folder, and
    DamagedCorpusError if a byte differs from what its manifest says."""
    if not folder.exists():
        raise FileNotFoundError(folder)
    corpus = PreparedCorpus.open(folder)
    corpus.manifest.check_contents(folder)
    return corpus


def _build(
    source: Source, corpus_sha256: str, kind: TokenizerKind, folder: Path, report: Report
) -> None:
    gathered = gather(source, folder, report)
    with reading_explained(source.name):
        unchanged = source.content_hash() == corpus_sha256
    if not unchanged:
        raise CorpusError(f"{source.name} changed while it was read; run again once it is complete")
    texts = TrainingTexts(gathered.splits["train"], kind, report)
    tokenizer = interruptible(lambda: kind.train(texts, report))
    (folder / TOKENIZER_FILE).write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    splits = {}
    for name, split in gathered.splits.items():
        splits[name] = pack(split, kind, tokenizer, folder, report)
        split.path.unlink()
    files = {path.name: FileRecord.of(path) for path in sorted(folder.iterdir())}
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        corpus=source.name,
        corpus_sha256=corpus_sha256,
        splitting=gathered.splitting,
        grouping=source.grouping,
        tokenizer=kind.spec,
        end_of_text=kind.end_of_text(tokenizer),
        tokenizer_sha256=files[TOKENIZER_FILE].sha256,
        token_type=token_type(kind.spec.vocab_size).name,
        splits=splits,
        files=files,
        null_documents=gathered.null_documents,
        blank_documents=gathered.blank_documents,
        domains=_domains(source, gathered.splits),
    )
    (folder / MANIFEST_FILE).write_text(manifest.as_json(), encoding="utf-8")


def _domains(source: Source, splits: Mapping[SplitName, GatheredSplit]) -> tuple[DomainRecord, ...]:
    if not isinstance(source, MixedCorpus):
        return ()
    return tuple(
        DomainRecord(
            corpus=part.name,
            documents={name: split.domain_documents[number] for name, split in splits.items()},
        )
        for number, part in enumerate(source.parts)
    )


# As the user typed it: the console command stellux calls this one.
_NAME = "stellux prepare" if Path(sys.argv[0]).stem == "stellux" else "python -m data.prepare"

app = App(
    name=_NAME,
    help="""Prepare a corpus: train its tokenizer, pack its tokens, show its manifest.

    A corpus is stdlib, wikitext-2, wikitext-103, tinystories,
    hf:owner/name[:configuration][:field], a .txt, .jsonl or .parquet file, or a
    folder with one of these for each of train, dev (or val, valid, validation)
    and, if you like, test. A single file is split 90/5/5 by a hash of each
    document; with too few documents, by bytes: the first 90 % train, the next
    5 % dev, the last 5 % test. "mix:stdlib + reviews.jsonl:review" is several in
    one, with one tokenizer; each is split by itself.

    A document is a row of a .jsonl or .parquet file: its field text, or the one
    named behind the path, as in reviews.jsonl:review. Null and blank rows are
    left out and counted.

    Plain text has no rows. Its documents are
    separators: what is between lines of <|endoftext|>, if it has such lines;
    headings: else articles, each from a line like " = Title = ", if it has such;
    paragraphs: else what is between blank lines;
    pieces: else, in a single file, pieces of 4 to 8 KiB, cut at line ends.
    #separators, #headings, #paragraphs, #pieces or #lines (each line a document)
    behind the path chooses.""",
    help_epilogue=f"""Examples:
  {_NAME}
  {_NAME} wikitext-103 --vocab-size 16000
  {_NAME} reviews.jsonl:review --vocab-size 8000 --json
  {_NAME} sentences.txt#lines
  {_NAME} stdlib --tokenizer superbpe --vocab-size 8k
  {_NAME} stdlib --tokenizer hf:openai-community/gpt2""",
    help_format="plaintext",
    version_flags=[],
)


@app.default
def main(
    corpus: str = DEFAULT_CORPUS,
    *,
    vocab_size: Annotated[
        int | None,
        Parameter(
            name=["--vocab-size", "--vocabulary"],
            converter=from_command_line,
            metavar="COUNT",
            help="Tokens of the tokenizer, end-of-text included, e.g. 8k; default: those of the "
            "tokenizer's file, else 4,096.",
        ),
    ] = None,
    tokenizer: Annotated[
        str,
        Parameter(
            help="byte_level_bpe or superbpe, which are trained on the corpus; or the path of a "
            "tokenizer.json, or hf:owner/name for the one of a model on the hub."
        ),
    ] = DEFAULT_KIND,
    cache: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Prepares a corpus and returns the exit code.

    Parameters
    ----------
    corpus
        A name or a path, as above.
    cache
        Where prepared corpora are kept; default: $STELLUX_CACHE, else ~/.cache/stellux.
    json
        Write the manifest as JSON.
    """
    print_what_can_be_printed()
    errors = Console(stderr=True, soft_wrap=True)
    try:
        with progress_display(errors) as report:
            spec = named(tokenizer, vocab_size=vocab_size)
            prepared = prepare(corpus, spec, cache=cache, report=report)
    except CorpusError as error:
        errors.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was kept, the same command starts over")
        return 130
    if json:
        sys.stdout.write(prepared.manifest.as_json())
    else:
        Console().print(manifest_table(prepared))
    return 0


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    sys.exit(app())
