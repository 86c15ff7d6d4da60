"""Which cell of a sweep is meant, and opening it with its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.training.warm_start import Moments
from tune_app.journal.records import CellEvaluation
from tune_app.portable.format import CONFIG_FILE
from tune_app.portable.loading import load as load_export
from tune_app.portable.text_model import TextModel
from tune_app.results.designs import CellResult
from tune_app.results.summary import SweepResults, summarise
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.listing import open_named
from tune_app.sweep.trained_cell import cell_called, leading_cell, load_cell, load_cell_moments
from tune_app.trial.trained import TrainedModel
from tune_app.trial.trained import load as load_checkpoint


@dataclass(frozen=True, kw_only=True)
class ChosenCell:
    """A cell of a sweep, with the sweep's results."""

    folder: Path
    """Of the sweep."""
    results: SweepResults
    cell: CellResult
    evaluations: tuple[CellEvaluation, ...]
    """That are recorded of it."""

    def load(self, *, device: str = "cpu") -> TrainedModel:
        """Its model as of its newest checkpoint.

        Raises ValueError if it has none, CheckpointError if that is gone or damaged.
        """
        return load_cell(self.results, self.cell, folder=self.folder, device=device)

    def load_moments(self) -> Moments:
        """The optimiser's state of the same checkpoint; errors as of `load`."""
        return load_cell_moments(self.results, self.cell, folder=self.folder)


def sweep_folder(name: str, results: Path) -> Path:
    """The folder of a sweep that is named, or given as the path of its folder."""
    given = Path(name).expanduser()
    return given if (given / JOURNAL).is_file() else results / name


def is_sweep(name: str, results: Path) -> bool:
    """Whether a sweep is named, and not a checkpoint's file or an export's folder.

    A name that is nothing at all is taken for a sweep's, so that the error lists these.
    """
    if name.endswith(".pt"):
        return False
    path = Path(name).expanduser()
    if (path / JOURNAL).is_file() or (results / name / JOURNAL).is_file():
        return not (path / CONFIG_FILE).is_file()
    return not path.is_dir()


def choose_cell(name: str, *, cell: str | None = None, results: Path = Path("runs")) -> ChosenCell:
    """A cell of a sweep: the one of this label or key, or else the leader's best seed.

    Raises ValueError for an unknown sweep or cell, and if there is no leader yet.
    """
    folder = sweep_folder(name, results)
    with open_named(folder.name, folder.parent) as journal:
        found = summarise(journal)
        called = _called(found, cell)
        evaluations = tuple(journal.evaluations(called.cell.key))
    return ChosenCell(folder=folder, results=found, cell=called, evaluations=evaluations)


def _called(results: SweepResults, name: str | None) -> CellResult:
    if name is not None:
        return cell_called(results, name)
    if (leader := leading_cell(results)) is None:
        raise ValueError(
            f"the sweep {results.sweep.name} has no leader: no cell has finished; name a cell with "
            f"--cell: {', '.join(one.cell.label for one in results.cells)}"
        )
    return leader


def open_text_model(
    name: str, *, cell: str | None = None, results: Path = Path("runs"), device: str = "cpu"
) -> TextModel:
    """The model of an export's folder, of a checkpoint's file, or of a sweep's cell.

    Raises ValueError if there is no such thing, or it cannot be loaded.
    """
    path = Path(name).expanduser()
    if name.endswith(".pt"):
        _refuse_cell(name, cell)
        return text_model(load_checkpoint(name, device=device))
    if not is_sweep(name, results):
        _refuse_cell(name, cell)
        return load_export(path, device=device)
    return text_model(choose_cell(name, cell=cell, results=results).load(device=device))


def text_model(trained: TrainedModel) -> TextModel:
    """A checkpoint's model as one that text can be made with.

    Raises TokenizerError if its tokenizer is not there.
    """
    tokenizer, identity = trained.tokenizer, trained.identity
    assert identity is not None, "a tokenizer that was found has an identity"
    return TextModel(
        model=trained.model,
        tokenizer=tokenizer,
        tokenizer_kind=identity.kind,
        end_of_text=trained.end_of_text,
    )


def _refuse_cell(name: str, cell: str | None) -> None:
    if cell is not None:
        raise ValueError(f"{name} is one model, not a sweep with cells; leave out --cell {cell}")
