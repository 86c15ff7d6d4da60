"""Writes the bundle of a sweep, or of a folder of sweeps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data.errors import CorpusError
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.progress import Report, silent
from tune_app import formats
from tune_app.journal.journal import Journal
from tune_app.plan.cell import Cell
from tune_app.reproduction.archive import pack
from tune_app.reproduction.derived import write_derived, write_study_derived
from tune_app.reproduction.environment import environment_record
from tune_app.reproduction.journal_text import TEXT, copy_journal, write_journal_text
from tune_app.reproduction.manifest import Manifest
from tune_app.results.markdown import template
from tune_app.results.summary import SweepResults
from tune_app.study.definition import AS_WRITTEN, DEFINITION
from tune_app.study.forecast import FILE as FORECAST
from tune_app.sweep.folder import HOLDER, JOURNAL
from tune_app.sweep.listing import open_named
from tune_app.sweep.source import ROOT
from tune_app.trial.tokenizer_files import FOLDER as TOKENIZERS

SWEEPS = "sweeps"
ENVIRONMENT, DATA, COMMANDS, SPACE = "environment.json", "data.json", "REPRODUCE.md", "space.py"
OTHERS = "others"
"""Folder of the other files of a folder of several sweeps, such as its definition."""

_OTHER_SUFFIXES = (".md", ".json", ".jsonl", ".toml", ".yaml", ".yml", ".csv", ".tex", ".py")
_LARGEST_OTHER = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that was written."""

    path: Path
    bytes: int
    sha256: str
    sweeps: tuple[str, ...]
    warnings: tuple[str, ...]
    """What keeps others from repeating it to the letter."""


def sweeps_in(name: str, results: Path) -> tuple[str, list[Path]]:
    """The name and the folders of a sweep that is named or given as a path, or of the sweeps in
    such a folder.

    Raises ValueError that names the sweeps there are, if there is none.
    """
    given = Path(name).expanduser()
    for folder in (results / name, given):
        if (folder / JOURNAL).is_file():
            return folder.absolute().name, [folder]
        if found := sorted(path.parent for path in folder.glob(f"*/{JOURNAL}")):
            return folder.absolute().name, found
    open_named(name, results).close()  # says which sweeps there are
    raise AssertionError("it raised an error")


def write_bundle(
    name: str, folders: Sequence[Path], archive: Path, *, report: Report | None = None
) -> Bundle:
    """Packs sweeps into one archive.

    Args:
        name: of the bundle.
        folders: of the sweeps.
        archive: the file to write; replaced if it is there.
        report: hears of the preparation of a corpus that is not in the cache.

    Raises ValueError if a sweep is still running, JournalError if a journal cannot be read.
    """
    for folder in folders:
        with Journal.open(folder / JOURNAL, read_only=True) as journal:
            if journal.is_driven:
                raise ValueError(
                    f"the sweep in {folder} is still running; wait for it, or end it with Ctrl-C"
                )
    with TemporaryDirectory(prefix="stellux-bundle-") as scratch:
        root = Path(scratch) / name
        found = {folder.absolute().name: folder for folder in folders}
        results = {sweep: _add_sweep(path, root / SWEEPS / sweep) for sweep, path in found.items()}
        parent = folders[0].parent
        if parent.name == name and (parent / DEFINITION).is_file():
            _add_study(parent, root / SWEEPS)
        if parent != folders[0] and (len(folders) > 1 or parent.name == name):
            _add_others(parent, root / OTHERS, without=root / SWEEPS)
        environment = environment_record()
        data = {sweep: _data(one, report or silent) for sweep, one in results.items()}
        warnings = _warnings(results, environment)
        _write_json(root / ENVIRONMENT, environment)
        _write_json(root / DATA, data)
        (root / COMMANDS).write_text(
            _commands(name, results, environment, data, warnings), encoding="utf-8"
        )
        if (lock := ROOT / "requirements.lock").is_file():
            shutil.copyfile(lock, root / lock.name)
        manifest = Manifest.of(
            root, name=name, sweeps=tuple(found), source=str(environment["source"])
        )
        manifest.write(root)
        pack(root, archive)
    with archive.open("rb") as file:
        sha256 = file_digest(file, "sha256").hexdigest()
    return Bundle(
        path=archive,
        bytes=archive.stat().st_size,
        sha256=sha256,
        sweeps=tuple(found),
        warnings=tuple(warnings),
    )


def _add_sweep(folder: Path, to: Path) -> SweepResults:
    to.mkdir(parents=True)
    copy_journal(folder / JOURNAL, to / JOURNAL)
    write_journal_text(to / JOURNAL, to / TEXT)
    results = write_derived(to, to)
    if (tokenizers := folder / TOKENIZERS).is_dir():
        shutil.copytree(tokenizers, to / TOKENIZERS)
    space = _space_file(results.sweep.space)
    if space is not None:
        shutil.copyfile(space, to / SPACE)
    return results


def _space_file(space: str) -> Path | None:
    """The file that defines a space, as it is now; None if it is gone."""
    for path in (ROOT / "search_spaces" / f"{space}.py", Path(space)):
        if path.suffix == ".py" and path.is_file():
            return path
    return None


def _add_study(folder: Path, sweeps: Path) -> None:
    """The definition of a study, its forecast, and its report made anew from the journals in the
    bundle; it lies beside the phases that it links to."""
    for name in (DEFINITION, AS_WRITTEN, FORECAST):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, sweeps / name)
    write_study_derived(sweeps, sweeps)


def _add_others(folder: Path, to: Path, *, without: Path) -> None:
    """The small text files beside several sweeps, without those that are in the bundle already."""
    for path in sorted(folder.iterdir()):
        small = path.is_file() and not path.is_symlink() and path.stat().st_size < _LARGEST_OTHER
        known = path.name == HOLDER or (without / path.name).exists()
        if small and not known and path.suffix in _OTHER_SUFFIXES and path.name[0] != ".":
            to.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to / path.name)


def _data(results: SweepResults, report: Report) -> dict[str, Any]:
    """The corpus of a sweep by its hashes, and each packing of it that is at hand."""
    sweep = results.sweep
    packed: dict[str, Any] = {}
    tokenizers = {}
    for one in results.cells:
        try:
            tokenizer = Cell.from_values(one.cell.values).tokenizer
            tokenizers[tokenizer.key] = tokenizer
        except ValueError as error:  # a cell of a version with other settings
            packed[one.cell.key] = {"unknown": formats.one_line(str(error))}
    for key, tokenizer in sorted(tokenizers.items()):
        try:
            packed[key] = _packing(
                prepare(sweep.corpus, tokenizer, report=report), sweep.corpus_sha256
            )
        except CorpusError as error:
            packed[key] = {"unknown": str(error)}
    return {
        "corpus": sweep.corpus,
        "corpus_sha256": sweep.corpus_sha256,
        "dev_bytes_per_token": dict(sweep.bytes_per_token),
        "test_bytes": sweep.test_bytes,
        "packed": packed,
    }


def _packing(corpus: PreparedCorpus, sha256: str) -> dict[str, Any]:
    manifest = corpus.manifest
    if manifest.corpus_sha256 != sha256:
        return {"unknown": f"the corpus has changed: its SHA-256 is now {manifest.corpus_sha256}"}
    return {
        "tokenizer_sha256": manifest.tokenizer_sha256,
        "splits": {name: asdict(split) for name, split in manifest.splits.items()},
        "files": {name: asdict(file) for name, file in manifest.files.items()},
    }


def _warnings(results: dict[str, SweepResults], environment: dict[str, Any]) -> list[str]:
    found = []
    for name, one in results.items():
        versions = dict(one.sweep.versions)
        source = versions.pop("source", "unknown")
        if source == "unknown" or "changed" in source:
            found.append(
                f"{name} was trained by source {source!r}, which no commit holds; commit first and "
                "train anew, if others are to repeat it"
            )
        installed = dict(package.split("==", 1) for package in environment["packages"])
        for package, version in versions.items():
            now = environment["python"] if package == "python" else installed.get(package)
            if now is not None and now != version:
                found.append(f"{name} began with {package} {version}; here it is {now}")
    return found


def _commands(
    name: str,
    results: dict[str, SweepResults],
    environment: dict[str, Any],
    data: dict[str, Any],
    warnings: Sequence[str],
) -> str:
    sweeps = [
        {
            "name": sweep,
            "source": one.sweep.versions.get("source", "unknown"),
            "python": one.sweep.versions.get("python", "unknown"),
            "versions": ", ".join(
                f"{package} {version}"
                for package, version in one.sweep.versions.items()
                if package not in ("source", "python")
            ),
            "seeds": ", ".join(map(str, one.sweep.seeds)),
            "hosts": ", ".join(
                sorted({attempt.host for cell in one.cells for attempt in cell.attempts} - {""})
            ),
            "corpus": data[sweep]["corpus"],
            "corpus_sha256": data[sweep]["corpus_sha256"],
            "commands": list(
                dict.fromkeys([one.sweep.command, *(change.command for change in one.amendments)])
            ),
        }
        for sweep, one in results.items()
    ]
    content = {
        "name": name,
        "sweeps": sweeps,
        "environment": environment,
        "warnings": list(warnings),
    }
    return template(Path(__file__).with_name("reproduce.md.jinja"), content)


def _write_json(path: Path, values: Any) -> None:
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(f"{text}\n", "utf-8")
