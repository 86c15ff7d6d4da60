"""The command line of exports: python -m tune_app.export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from tune_app.command_line import command_name, examples, run_command, version_text

MODULE = "tune_app.export"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Write a trained cell as a folder that loads without its sweep.

    The folder has the weights (safetensors), config.json with everything else that
    makes up the model, its tokenizer, its metrics and a model card. It is loaded
    again and compared before it appears.""",
    help_epilogue=examples(
        f"{_NAME} quick",
        f"{_NAME} quick --cell '45% × 4' --to exports/wide",
    ),
    help_format="plaintext",
    version=version_text,
)


@app.default
def export(
    name: Annotated[str, Parameter(help="Name of the sweep, or the path of its folder.")],
    *,
    cell: str | None = None,
    to: Path | None = None,
    transformers: Annotated[bool, Parameter(negative="")] = False,
    optimizer: Annotated[bool, Parameter(negative="")] = False,
    results: Annotated[Path, Parameter(help="Folder that holds all sweeps.")] = Path("runs"),
) -> int:
    """Export a cell.

    Parameters
    ----------
    cell
        Its label or key; default: the leader, on the seed on which it scored best.
    to
        The new folder; default: exports/NAME-KEY.
    transformers
        Also write it for the library transformers, if the model is exactly a Llama.
    optimizer
        Also write the state of its optimiser, with which fine-tuning may go on.
    """
    from tune_app.evaluation.cell_metrics import cell_metrics  # noqa: PLC0415 - imports torch
    from tune_app.evaluation.choice import choose_cell  # noqa: PLC0415
    from tune_app.evaluation.exporting import (  # noqa: PLC0415
        CARD_FILE,
        Exportable,
        write_export,
    )
    from tune_app.evaluation.llama import why_not_llama  # noqa: PLC0415
    from tune_app.evaluation.model_card import model_card  # noqa: PLC0415
    from tune_app.evaluation.recording import METRICS_FILE, as_json  # noqa: PLC0415

    chosen = choose_cell(name, cell=cell, results=results)
    record = chosen.cell.cell
    sweep = chosen.results.sweep.name
    target = to or Path("exports") / f"{sweep}-{record.key}"
    if transformers and chosen.cell.cell.solved is not None:
        reason = why_not_llama(chosen.cell.cell.solved.model)
        if reason is not None:
            raise ValueError(f"transformers has no such model: {reason}; leave out --transformers")
    metrics = cell_metrics(chosen.results, chosen.cell, evaluations=chosen.evaluations)
    trained = chosen.load()
    write_export(
        Exportable.of(trained, moments=chosen.load_moments() if optimizer else None),
        target,
        source={
            "sweep": sweep,
            "cell": record.key,
            "label": record.label,
            "tokens": trained.tokens,
        },
        documents={
            METRICS_FILE: as_json(metrics),
            CARD_FILE: model_card(
                metrics, name=f"{sweep}, {record.label}", folder=target.name, prompt="The"
            ),
        },
        transformers=transformers,
    )
    console = Console()
    console.print(
        f"exported {record.label} of the sweep {sweep} to {target}\n"
        f'load("{target}") of tune_app.portable.loading reads it; MODEL_CARD.md describes it',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
