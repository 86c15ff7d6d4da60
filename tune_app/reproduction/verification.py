"""Checks a bundle: its numbers, its hashes, and a cell's first steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from data.manifest import TOKENIZER_FILE
from data.progress import Report, silent
from tune_app import formats
from tune_app.journal.file import JournalError
from tune_app.reproduction.archive import MOST_BYTES, unpacked
from tune_app.reproduction.bundling import SWEEPS
from tune_app.reproduction.derived import check_derived, write_derived, write_study_derived
from tune_app.reproduction.difference import Difference
from tune_app.reproduction.first_steps import TOLERANCE, chosen_cell, train_again
from tune_app.reproduction.journal_text import TEXT, as_difference, check_journal_text
from tune_app.reproduction.manifest import Manifest
from tune_app.results.summary import SweepResults
from tune_app.study.definition import DEFINITION
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.source import source_version
from tune_app.trial.tokenizer_files import FOLDER as TOKENIZERS
from tune_app.trial.tokenizer_files import IDENTITY_FILE, TokenizerIdentity


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained again.

    Raises ValueError for an impossible number.
    """

    sweep: str | None = None
    """Default: the last one of the bundle."""
    cell: str | None = None
    """Label or key; default: the leader."""
    evaluations: int = 1
    tolerance: float = TOLERANCE
    device: str = "cpu"
    corpus: str | None = None
    """Where the text is now; default: where it was."""

    def __post_init__(self) -> None:
        if self.evaluations < 1:
            raise ValueError(f"{self.evaluations} evaluations to train again; at least 1")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance is {self.tolerance!r}; it must be from 0 to below 1")


def verify_bundle(
    bundle: Path,
    *,
    training: Training | None,
    tell: Callable[[str], None],
    report: Report | None = None,
    most_bytes: int = MOST_BYTES,
) -> None:
    """Checks a bundle, an archive or the folder that it was unpacked to.

    Args:
        bundle: the archive or the folder.
        training: what to train again; None for nothing.
        tell: hears a sentence for each thing that was checked.
        report: hears of the preparation of the corpus.
        most_bytes: that the archive may have unpacked.

    Raises Difference for the first thing that is not as the bundle says, and ValueError if it is no
    bundle or cannot be checked here.
    """
    with _opened(bundle, most_bytes) as folder:
        manifest = Manifest.read(folder)
        if missing := [one for one in manifest.sweeps if not (folder / SWEEPS / one).is_dir()]:
            raise Difference(f"{SWEEPS}/{missing[0]}", old="a sweep", new="it is missing")
        results = {name: _recomputed(folder, name, manifest, tell) for name in manifest.sweeps}
        _recomputed_study(folder, manifest, tell)
        manifest.check(folder)
        tell(f"{formats.counted(len(manifest.files), 'file')}: every SHA-256 is the recorded one")
        if training is not None:
            _train(folder, results, training, tell, report or silent)


@contextmanager
def _opened(bundle: Path, most_bytes: int) -> Iterator[Path]:
    if bundle.is_dir():
        yield bundle
        return
    if not bundle.is_file():
        raise ValueError(f"there is no bundle at {bundle}; python -m tune_app.bundle writes one")
    with unpacked(bundle, most_bytes=most_bytes) as folder:
        yield folder


def _recomputed(
    folder: Path, name: str, manifest: Manifest, tell: Callable[[str], None]
) -> SweepResults:
    """The results of a sweep from its journal, compared with those in the bundle."""
    sweep = folder / SWEEPS / name
    told = f"{SWEEPS}/{name}"
    for file in (JOURNAL, TEXT):
        if not (sweep / file).is_file():
            raise Difference(f"{told}/{file}", old="a file", new="it is missing")
    try:
        check_journal_text(sweep / JOURNAL, sweep / TEXT, name=f"{told}/{JOURNAL}")
        with TemporaryDirectory(prefix="stellux-verify-") as scratch:
            results = write_derived(sweep, Path(scratch), drawn=False)
            files = check_derived(sweep, Path(scratch), name=told, hint=_hint(manifest))
    except JournalError as error:
        raise as_difference(error, name=f"{told}/{JOURNAL}") from error
    tell(f"{name}: {files} tables and reports recomputed from the journal; they are the same")
    tokenizers = _tokenizers(sweep, told)
    tell(f"{name}: {formats.counted(len(tokenizers), 'tokenizer')} as recorded")
    return results


def _recomputed_study(folder: Path, manifest: Manifest, tell: Callable[[str], None]) -> None:
    """Compares the report of a study with what its phases' journals say."""
    sweeps = folder / SWEEPS
    with TemporaryDirectory(prefix="stellux-verify-") as scratch:
        try:
            if not write_study_derived(sweeps, Path(scratch)):
                return
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
            text = formats.one_line(str(error) or repr(error))
            old = "the study that the journals are of"
            raise Difference(f"{SWEEPS}/{DEFINITION}", old=old, new=text) from error
        check_derived(sweeps, Path(scratch), name=SWEEPS, hint=_hint(manifest))
    tell("the verdict and the report of the study recomputed from its journals; they are the same")


def _hint(manifest: Manifest) -> str:
    now = source_version()
    if now == manifest.source:
        return ""
    return (
        f"the bundle was written by source {manifest.source}, this is {now}: if the bundle is "
        "untouched, verify it with the former"
    )


def _tokenizers(sweep: Path, told: str) -> dict[str, str]:
    """SHA-256 of each tokenizer by its key. Raises Difference if one is not what it should be."""
    found = {}
    for path in sorted((sweep / TOKENIZERS).glob(f"*/{IDENTITY_FILE}")):
        name = f"{told}/{TOKENIZERS}/{path.parent.name}"
        try:
            identity = TokenizerIdentity.from_values(json.loads(path.read_text("utf-8")))
            key = Path(identity.folder).name
            content = (path.parent / TOKENIZER_FILE).read_bytes()
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            text = formats.one_line(repr(error))
            raise Difference(name, old="a tokenizer", new=f"not readable ({text})") from error
        now = sha256(content).hexdigest()
        if now != identity.sha256:
            raise Difference(
                f"{name}/{TOKENIZER_FILE}", old=f"SHA-256 {identity.sha256}", new=f"SHA-256 {now}"
            )
        if key != path.parent.name:
            raise Difference(f"{name}/{IDENTITY_FILE}", old=path.parent.name, new=key)
        found[key.rpartition("-")[0]] = now
    return found


def _train(
    folder: Path,
    results: dict[str, SweepResults],
    training: Training,
    tell: Callable[[str], None],
    report: Report,
) -> None:
    name = training.sweep or list(results)[-1]
    if name not in results:
        raise ValueError(f"the bundle has no sweep {name!r}; expected one of {', '.join(results)}")
    cell = chosen_cell(results[name], training.cell)
    done = train_again(
        results[name],
        cell,
        evaluations=training.evaluations,
        tolerance=training.tolerance,
        device=training.device,
        corpus=training.corpus,
        tokenizers=_tokenizers(folder / SWEEPS / name, name),
        report=report,
    )
    exact = (
        "equal bit for bit"
        if done.largest == 0
        else f"equal but for {done.largest:.1e} (relative) at most"
    )
    tell(
        f"{name}: {done.label} trained again for {done.tokens:,} tokens; "
        f"{formats.counted(done.values, 'number')} of "
        f"{formats.counted(done.evaluations, 'evaluation')} {exact}"
    )
