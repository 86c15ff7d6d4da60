"""The command line of evaluations: python -m tune_app.evaluate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from tune_app.command_line import (
    command_name,
    examples,
    lasting_console,
    run_command,
    version_text,
)

MODULE = "tune_app.evaluate"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Say what a trained model is worth, on text and on tasks.

    The model is a sweep's leader or one of its cells, an export, or a checkpoint's
    file. A suite is language_modelling (train, dev and test of the sweep's corpus);
    small_bench, or one of its tasks sst2, rte, boolq and mrpc; gsm8k, humaneval or
    wikitext-2; latency; throughput; or the path of any text. Tasks and named texts
    are read from published files in the folder --data.

    Results of a sweep's cell are recorded in its journal, each suite and split once,
    and written to runs/NAME/evaluations/CELL: metrics.json, summary.md, the score of
    each document and example, and the names of those that overlap with the training
    text.""",
    help_epilogue=examples(
        f"{_NAME} quick",
        f"{_NAME} quick --suite gsm8k --data published",
        f"{_NAME} exports/wide --suite novel.txt",
        f"{_NAME} exports/wide --lm-eval gsm8k,mmlu_stem --limit 10",
    ),
    help_format="plaintext",
    version=version_text,
)


@app.default
def evaluate(
    name: Annotated[
        str, Parameter(help="Name of a sweep, folder of an export, or path of a checkpoint.")
    ],
    *,
    suite: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            show_default=False,
            help="What on; repeat the option; default: language_modelling, or nothing besides "
            "--lm-eval.",
        ),
    ] = (),
    cell: str | None = None,
    data: Annotated[
        Path | None,
        Parameter(
            help="Folder with published files; default: none, and the tasks of small_bench are "
            "read from the Hugging Face hub."
        ),
    ] = None,
    to: Path | None = None,
    overlap_words: int = 13,
    shortest_overlap: int = 8,
    lm_eval: Annotated[
        str | None,
        Parameter(
            name="--lm-eval",
            help="Tasks of EleutherAI's lm-evaluation-harness, separated by commas; needs the "
            "library, which `make harness` installs; default: none.",
        ),
    ] = None,
    lm_eval_tasks: Annotated[Path | None, Parameter(name="--lm-eval-tasks")] = None,
    limit: int | None = None,
    fewshot: int | None = None,
    wandb: str = "off",
    threads: int = 1,
    device: str = "cpu",
    results: Annotated[Path, Parameter(help="Folder that holds all sweeps.")] = Path("runs"),
) -> int:
    """Evaluate a model.

    Parameters
    ----------
    cell
        Label or key of a cell; default: the leader, on the seed on which it scored best.
    to
        Folder of the results; default: in the sweep's folder, or evaluations/.
    overlap_words
        Words in a row that, found in the training text, make an example contaminated.
    shortest_overlap
        A text of fewer words is never called contaminated.
    lm_eval_tasks
        Folder with further tasks of the harness, in YAML files; default: its own tasks alone.
    limit
        Examples at most of each of these tasks; default: all.
    fewshot
        Examples in front of each question; default: as the task says.
    wandb
        offline or online: also send the results to the cell's run on Weights & Biases.
    threads
        CPU threads.
    device
        auto (a GPU if there is one), cpu, cuda or mps.
    """
    from data.tasks.overlap import OverlapRule  # noqa: PLC0415
    from tune_app.devices import checked_device, use_threads  # noqa: PLC0415 - imports torch
    from tune_app.evaluation import run  # noqa: PLC0415
    from tune_app.evaluation.harness import HarnessOptions  # noqa: PLC0415
    from tune_app.evaluation.suite_names import LANGUAGE  # noqa: PLC0415

    if lm_eval is None and any(one is not None for one in (limit, fewshot, lm_eval_tasks)):
        raise ValueError("--limit, --fewshot and --lm-eval-tasks are for --lm-eval; name its tasks")
    harness = None
    if lm_eval is not None:
        harness = HarnessOptions(
            tasks=tuple(dict.fromkeys(filter(None, map(str.strip, lm_eval.split(","))))),
            limit=limit,
            fewshot=fewshot,
            folder=lm_eval_tasks,
        )
    options = run.EvaluationOptions(
        suites=suite or (() if harness else (LANGUAGE,)),
        harness=harness,
        wandb=wandb,
        data=data,
        to=to,
        overlap=OverlapRule(words=overlap_words, shortest=min(shortest_overlap, overlap_words)),
        device=checked_device(device),
    )
    use_threads(threads)
    console = lasting_console()
    folder = run.evaluate(name, options, cell=cell, results=results, console=console)
    console.print(f"written to {folder}", markup=False, highlight=False, soft_wrap=True)
    return 0


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
