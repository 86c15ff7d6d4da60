"""The command line that looks inside a trained model: python -m tune_app.interpret."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from tune_app.command_line import command_name, examples, run_command, version_text

if TYPE_CHECKING:
    from tune_app.interpret.subject import Subject

MODULE = "tune_app.interpret"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Look inside a trained model.

    Shows which activations PolyGLU's neurons prefer in each layer, the entropy of
    that routing, which experts a text's tokens choose, and the singular values of the
    embeddings: as tables here, and as a picture in a PNG file.""",
    help_epilogue=examples(
        f"{_NAME} quick_polyglu",
        f"{_NAME} quick_polyglu --cell polyglu --text review.txt",
        f"{_NAME} runs/trials/680915cb3518/60416-81952ee0143f.pt",
    ),
    help_format="plaintext",
    version=version_text,
)


@app.default
def interpret(
    model: Annotated[
        str,
        Parameter(
            help="A checkpoint (path or URL of a .pt file, also one with the names of PolyGLU's "
            "paper), or the name of a sweep."
        ),
    ] = "quick",
    *,
    cell: str | None = None,
    text: Path | None = None,
    to: Path = Path("interpretation.png"),
    results: Path = Path("runs"),
    device: str = "auto",
) -> int:
    """Look inside a trained model.

    Parameters
    ----------
    cell
        Label or key of a cell of the sweep; default: its leader.
    text
        A file of UTF-8 text on which the routing is measured too; default: none.
    to
        The picture to write.
    results
        Folder that holds all sweeps.
    device
        auto (a GPU if there is one), cpu, cuda, one of several GPUs as in cuda:1, or mps.
    """
    from tune_app.interpret.findings import look_inside  # noqa: PLC0415 - imports torch
    from tune_app.interpret.picture import write_picture  # noqa: PLC0415 - imports matplotlib
    from tune_app.interpret.table import findings_table  # noqa: PLC0415

    if to.suffix.lower() != ".png":
        raise ValueError(f"the picture {str(to)!r} is not a .png file; name one: --to picture.png")
    subject = _subject(model, cell=cell, results=results.expanduser(), device=device)
    findings = look_inside(subject, None if text is None else _read(text.expanduser()))
    Console().print(findings_table(findings))
    write_picture(findings, to.expanduser())
    Console().print(f"picture: {to}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _subject(model: str, *, cell: str | None, results: Path, device: str) -> Subject:
    from tune_app.interpret.subject import Subject, published_weights  # noqa: PLC0415

    if model.endswith((".pt", ".pth")) or "://" in model or "/" in model:
        if cell is not None:
            raise ValueError("--cell chooses a cell of a sweep; leave it out for a checkpoint")
        path = Path(model).expanduser()
        if "://" not in model and not path.is_file():
            raise ValueError(f"there is no checkpoint {model!r}; name a .pt file, or a sweep")
        if "://" not in model and (published := published_weights(path)) is not None:
            return published
        from tune_app.trial.trained import load  # noqa: PLC0415

        return Subject.of_trained(load(model, device=device), title=model)
    from tune_app.api.sweep import open_sweep  # noqa: PLC0415 - imports pandas

    sweep = open_sweep(model, results=results)
    trained = sweep.load_leader(device=device) if cell is None else sweep.load(cell, device=device)
    named = f"the leader, {sweep.leader}" if cell is None else cell
    return Subject.of_trained(trained, title=f"{model}: {named}")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}); convert it") from error


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
